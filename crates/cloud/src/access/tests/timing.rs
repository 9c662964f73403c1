//! Whether the time of an answer tells who has an account: Welch's t over many sign-ins.
//!
//! `FIELDKEEP_TIMINGS=500` asks so many times a side; fewer by default, because each costs a whole password hash.

use super::*;

/// Beyond this the two times differ, as leakage assessments count it.
const T_LIMIT: f64 = 4.5;

fn mean_and_variance(times: &[f64]) -> (f64, f64) {
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, squares / (n - 1.0))
}

fn welch(a: &[f64], b: &[f64]) -> f64 {
    let ((mean_a, var_a), (mean_b, var_b)) = (mean_and_variance(a), mean_and_variance(b));
    (mean_a - mean_b) / (var_a / a.len() as f64 + var_b / b.len() as f64).sqrt()
}

/// Without the slowest quarter, which is the machine's doing.
fn settled(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() * 3 / 4);
    times
}

#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_who_has_an_account() {
    let count = std::env::var("FIELDKEEP_TIMINGS").ok();
    let count = count.map_or(60, |text| text.parse().unwrap());
    let bench = Bench::with(&config::Sessions {
        attempts_per_account: 100_000,
        attempts_per_source: 100_000,
        ..config::Sessions::default()
    })
    .await;
    bench.person("anna@example.org").await;
    let stopwatch = Clock::system();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..count {
        for turn in 0..2 {
            // In turns, and each side as often first.
            let side = (round + turn) % 2;
            let email = ["anna@example.org", "nobody@example.org"][side];
            let begun = stopwatch.elapsed();
            bench.sign_in(email, "not the password").await.unwrap_err();
            times[side].push((stopwatch.elapsed() - begun).as_secs_f64());
        }
    }
    let [known, unknown] = times.map(settled);
    let t = welch(&known, &unknown);
    assert!(t.abs() < T_LIMIT, "t = {t:.2} over {count} a side");
}

#[test]
fn a_difference_would_be_seen() {
    let wobble = |i: usize| (i % 7) as f64 / 100.0;
    let one: Vec<f64> = (0..60).map(|i| 1.0 + wobble(i)).collect();
    let other: Vec<f64> = (0..60).map(|i| 1.05 + wobble(i)).collect();
    assert!(welch(&one, &other).abs() > T_LIMIT);
    assert!(welch(&one, &one).abs() < 0.001);
}
