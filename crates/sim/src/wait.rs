//! Waiting for a condition instead of for a time.

use std::time::Duration;

/// Asks again and again until the answer is there; a clear failure after a minute.
///
/// # Panics
/// When the answer never comes.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    for _ in 0..600 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited a minute in vain: {what}");
}

/// Lets the system run for a while, for faults at chosen moments.
pub async fn run_for(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
