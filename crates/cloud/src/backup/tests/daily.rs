//! The daily backup: when it is due, and the chore that makes it.

use super::*;
use crate::config;

#[tokio::test]
async fn the_daily_one_is_due_until_its_own_folder_has_it() {
    let bench = Bench::new().await;
    let midnight = 0;
    assert!(bench.backup.is_due(&bench.target(), midnight).await);
    bench.make().await.unwrap();
    assert!(!bench.backup.is_due(&bench.target(), midnight).await);
    let elsewhere = bench.folder.path().join("elsewhere");
    assert!(bench.backup.is_due(&elsewhere, midnight).await);
    bench.hands.advance(DAY);
    assert!(bench.backup.is_due(&bench.target(), midnight).await);
    let task = operator();
    bench
        .backup
        .make(&task.operator(), &elsewhere, None, &Arc::default())
        .await
        .unwrap();
    assert!(bench.backup.is_due(&bench.target(), midnight).await);
    assert!(!bench.backup.is_due(&elsewhere, midnight).await);
}

/// How many data archives a folder holds, as soon as there are so many.
async fn archives_in(folder: &Path, least: usize) -> usize {
    for _ in 0..3_000 {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let found = names.filter(|name| name.ends_with("-data.age") && !name.starts_with('.'));
        let found = found.count();
        if found >= least {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are not {least} archives in half a minute");
}

#[tokio::test]
async fn the_chore_makes_one_at_once_and_one_a_day() {
    let bench = Bench::new().await;
    let settings = config::Backup {
        to: Some(bench.target()),
        at_minute: 150,
        keep_days: None,
    };
    let backup = bench.backup.clone();
    let chore = tokio::spawn(async move {
        backup.run_looking(settings, Duration::from_millis(5)).await;
    });
    assert_eq!(archives_in(&bench.target(), 1).await, 1);
    // Its hour passes, and the chore looks.
    bench.hands.advance(Duration::from_secs(3 * 3_600));
    assert_eq!(archives_in(&bench.target(), 2).await, 2);
    bench.take(1, 1_000).await;
    bench.hands.advance(DAY);
    assert_eq!(archives_in(&bench.target(), 3).await, 3);
    chore.abort();
    // The newest one holds what came last.
    let restored = bench.restore(bench.order(&bench.target(), "new")).await;
    assert_eq!(restored.unwrap().records, 2_100);
}
