//! Events that PostHog rejects for good.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_culprit_becomes_a_dead_letter_and_the_rest_is_delivered_in_order() {
    for status in [400, 413] {
        let setup = Setup::new();
        let ids = names(0..500);
        setup.keep(&ids, 50).await;
        let culprits = ["n0", "n123", "n124", "n499"];
        let upstream = ScriptedPostHog::new(move |_, ids| {
            if ids.iter().any(|id| culprits.contains(&id.as_str())) {
                Verdict::of_status(status, "event submitted with an empty event name", None)
            } else {
                Verdict::Accepted
            }
        });
        let replay = setup.replay(&upstream, ReplaySettings::default());
        setup.until_empty().await;
        let expected: Vec<String> = ids
            .iter()
            .filter(|id| !culprits.contains(&id.as_str()))
            .cloned()
            .collect();
        assert_eq!(upstream.accepted(), expected);
        println!("{status}: {} requests", upstream.batches().len());
        let listed = setup.command(&SpoolCommand::Ls(Default::default()));
        println!("{listed}");
        for (culprit, line) in culprits.iter().zip(listed.lines().skip(1)) {
            assert!(line.starts_with("dead "), "{line}");
            assert!(line.ends_with(culprit), "{line}");
            let reason = format!("{status} event submitted with an empty event name");
            assert!(line.contains(&reason), "{line}");
        }
        replay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_retried_and_dropped_while_the_replay_runs() {
    let setup = Setup::new();
    setup.keep(&names(0..4), 1).await;
    let mended = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&mended);
    let upstream = ScriptedPostHog::new(move |_, ids| {
        let mended = state.load(Ordering::Relaxed) == 1;
        if mended || ids.iter().all(|id| id == "n3") {
            Verdict::Accepted
        } else {
            Verdict::of_status(400, "no", None)
        }
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    setup.until_empty().await;
    assert_eq!(upstream.accepted(), ["n3"]);
    let shown = setup.command(&SpoolCommand::Show { number: 2 });
    assert_eq!(shown.trim_end().as_bytes(), event("n1", 1).body());
    mended.store(1, Ordering::Relaxed);
    assert_eq!(
        setup.command(&SpoolCommand::Retry(Selection::Numbers(vec![1, 2]))),
        "2 back in the queue\n"
    );
    setup
        .until("the retried arrive", || upstream.accepted().len() == 3)
        .await;
    assert_eq!(upstream.accepted(), ["n3", "n0", "n1"]);
    // An accepted batch is not settled yet: for a moment its events are still listed as waiting.
    setup
        .until("only the third is left", || {
            let listed = setup.command(&SpoolCommand::Ls(ListFormat::Lines));
            listed.starts_with("DEAD LETTER\t")
                && listed
                    .lines()
                    .nth(1)
                    .is_some_and(|line| line.starts_with("dead 3\t"))
        })
        .await;
    assert_eq!(
        setup.command(&SpoolCommand::Drop(Selection::All)),
        "1 dropped\n"
    );
    assert!(setup
        .command(&SpoolCommand::Ls(ListFormat::Lines))
        .starts_with("the spool is empty"));
    let ninth = SpoolCommand::Drop(Selection::Numbers(vec![9]));
    let error = ninth.run(setup.folder.path(), &mut Vec::new());
    assert_eq!(error.unwrap_err().to_string(), "there is no dead letter 9");
    let nowhere = setup.folder.path().join("nowhere");
    let listed = SpoolCommand::Ls(ListFormat::Lines).run(&nowhere, &mut Vec::new());
    assert!(listed.is_err());
    assert!(!nowhere.exists(), "looking makes no spool");
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_posthog_refuses_everything_the_events_wait() {
    let setup = Setup::new();
    let ids = names(0..300);
    setup.keep(&ids, 1).await;
    let upstream = ScriptedPostHog::new(|number, _| {
        if number < 120 {
            Verdict::of_status(400, "failed to decode request", None)
        } else {
            Verdict::Accepted
        }
    });
    let replay = setup.replay(&upstream, ReplaySettings::default());
    setup.until_the_breaker_opens().await;
    setup.until_empty().await;
    replay.stop().await;
    let dead_lettered = setup.spool.counters().dead_lettered.load(Ordering::Relaxed);
    let accepted = upstream.accepted();
    println!("{} delivered, {dead_lettered} dead letters", accepted.len());
    // One for each probe after the first twenty, not all of them.
    assert!((20..=110).contains(&dead_lettered), "{dead_lettered}");
    assert_eq!(accepted.len() as u64 + dead_lettered, 300);
    assert_eq!(accepted, ids[ids.len() - accepted.len()..]);
}
