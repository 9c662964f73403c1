//! The golden access matrix: every row of the table, asked by everybody.
//!
//! `UPDATE_GOLDEN=1 cargo test -p fieldkeep-cloud matrix` writes `tests/golden/access.txt` anew; its changes are for a
//! reviewer to read. Rows for nobody stand on top.

use std::fmt::Write as _;

use super::samples::sample;
use super::world::{Who, World};
use crate::api::door::Needs;
use crate::api::table;

fn golden() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/access.txt")
}

#[tokio::test]
async fn the_matrix_is_the_golden_text() {
    let world = World::new().await;
    let mut rows = table();
    // Stable: inside a group the table's order stays.
    rows.sort_by_key(|row| row.needs() != Needs::Nobody);
    let mut text = String::from(HEAD);
    let mut missing = Vec::new();
    let mut group = None;
    for row in rows {
        let name = row.name();
        if group != Some(row.needs() == Needs::Nobody) {
            group = Some(row.needs() == Needs::Nobody);
            head(&mut text);
        }
        write!(text, "{name:66} {:22}", row.asks()).unwrap();
        for who in Who::ALL {
            let Some(mut request) = sample(&world, &name).await else {
                missing.push(name.clone());
                break;
            };
            world.as_who(who, &mut request).await;
            let status = world.send(request).await.status().as_u16();
            assert!(status < 500, "{name} as {}: {status}", who.name());
            write!(text, " {status:>width$}", width = who.name().len()).unwrap();
        }
        text.push('\n');
    }
    assert!(
        missing.is_empty(),
        "rows without a sample request: {missing:#?}"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), &text).unwrap();
    }
    let committed = std::fs::read_to_string(golden()).unwrap_or_default();
    for (line, (found, expected)) in text.lines().zip(committed.lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "tests/golden/access.txt, line {}",
            line + 1
        );
    }
    assert_eq!(
        text.lines().count(),
        committed.lines().count(),
        "rows came or went"
    );
}

const HEAD: &str = "\
Every row of the route table, asked by everybody. Statuses below 400 are answers; 422 got past the door.
garbage: a key that never was. expired: a session. revoked: a key. stranger: administrator of another project.
operator: member of no project. limited: viewer of another location than the one where everything is.
stale: administrator who proved long ago who they are; rows that ask for fresh proof answer 401.
svc: a token of a service account with that scope. legacy: a token of the compatibility routes (/compat), which refuse in
the words of another API: 200 with status error where something is not there, 403 and 400 at its sign-in.

";

fn head(text: &mut String) {
    write!(text, "{:66} {:22}", "", "needs").unwrap();
    for who in Who::ALL {
        write!(text, " {}", who.name()).unwrap();
    }
    text.push('\n');
}
