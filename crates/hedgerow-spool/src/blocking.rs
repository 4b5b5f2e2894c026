//! Work on separate threads.

use std::io;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Runs work that blocks, or that takes long, on a separate thread and within the caller's runtime.
///
/// The runtime's own pool cannot handle a system that starts no further thread: `spawn_blocking` then
/// panics on a runtime of one thread, and on a runtime of several the work waits until the pool gets other
/// work, which may be never. The caller has to limit how many calls run at once.
///
/// # Errors
/// Returns an error if the system starts no thread, or if the work panics. Its text says which.
pub async fn run_blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    let (sender, receiver) = oneshot::channel();
    let runtime = Handle::try_current();
    let thread = std::thread::Builder::new().name("blocking".to_owned());
    let started = thread.spawn(move || {
        let _within = runtime.as_ref().map(Handle::enter);
        // A caller that has stopped waiting does not need the result.
        let _ = sender.send(work());
    });
    started.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("the system starts no more threads ({error})"),
        )
    })?;
    receiver
        .await
        .map_err(|_| io::Error::other("the work ended in a panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_within_the_runtime_and_a_panic_of_it_is_an_error() {
        let here = std::thread::current().id();
        let there =
            run_blocking(|| (std::thread::current().id(), Handle::try_current().is_ok())).await;
        let (there, is_within) = there.unwrap();
        assert!(there != here && is_within);
        let broken = run_blocking(|| [0, 1].iter().position(|at| *at == 2).unwrap()).await;
        assert!(broken.is_err());
    }
}
