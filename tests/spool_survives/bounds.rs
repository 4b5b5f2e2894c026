//! `max_size` and `max_age`.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn max_size_bounds_the_file_and_the_low_water_mark_reopens_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        max_size: 4 << 20,
        low_water_percent: 50,
        ..SqliteSettings::default()
    };
    for padding in [60, 700, 5_000, 200_000] {
        let path = folder.path().join(padding.to_string());
        let spool = SqliteSpool::open(&path, settings).unwrap();
        let mut number = 0;
        let many = 1 + 20_000 / padding;
        let error = loop {
            let some = (number..number + many)
                .map(|number| event(&number.to_string(), padding))
                .collect();
            match spool.append("shop", some).await {
                Ok(()) => number += many,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SpoolError::Full { .. }), "{error:?}");
        let file = fs::metadata(path.join("spool.db")).unwrap().len();
        let held = all(&spool).await;
        assert_eq!(held.len(), number);
        let json: usize = held.iter().map(|held| held.body.len()).sum();
        println!("{padding}: {number} events, {json} bytes of JSON in {file}");
        assert!(file <= settings.max_size, "{padding}: {file}");
        // A little less does not reopen it; half does.
        let positions = |some: &[QueuedEvent]| some.iter().map(|held| held.position).collect();
        let few = number / 10;
        spool.acknowledge("shop", positions(&held[..few])).await;
        let refused = spool.append("shop", vec![event("x", padding)]).await;
        assert!(
            refused.is_err(),
            "{padding}: refused until the low-water mark"
        );
        spool
            .acknowledge("shop", positions(&held[few..number * 6 / 10]))
            .await;
        append_until_taken(&spool, "y").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_shrinks_when_the_spool_is_empty_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    for number in 0..20 {
        let events = (0..200)
            .map(|one| event(&format!("{number}-{one}"), 900))
            .collect();
        spool.append("shop", events).await.unwrap();
    }
    let size = || {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name() != "reserve")
            .map(|entry| entry.metadata().unwrap().len())
            .sum::<u64>()
    };
    let full = size();
    let held = all(&spool).await;
    let positions = held.iter().map(|held| held.position).collect();
    spool.acknowledge("shop", positions).await;
    let deadline = Instant::now() + PATIENCE;
    while size() > 300_000 {
        assert!(Instant::now() < deadline, "{} of {full}", size());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_and_dead_letters_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        max_age: Duration::from_millis(1_500),
        ..SqliteSettings::default()
    };
    let spool = SqliteSpool::open(folder.path(), settings).unwrap();
    keep_three_and_refuse_the_first(&spool).await;
    let deadline = Instant::now() + PATIENCE;
    while spool.counters().expired.load(Ordering::Relaxed) < 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(all(&spool).await.is_empty());
    assert_eq!(spool.gauges().of("shop").events(), 0);
}
