//! Elements.

use super::*;

#[tokio::test]
async fn elements_are_made_listed_and_changed() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let here = bench.location(&task, "Here").await;
    let new = NewElement {
        colour: Some("#1F77B4".to_owned()),
        ..new_element(" Water level ", Some(here))
    };
    let made = bench
        .projects
        .create_element(&task.grant(), new)
        .await
        .unwrap();
    assert_eq!(made.name, "Water level");
    assert_eq!(made.colour.as_deref(), Some("#1f77b4"));
    assert_eq!(
        bench
            .projects
            .element(&task.grant(), made.id)
            .await
            .unwrap(),
        made
    );
    bench.element(&task, "Air", None).await;
    let listed = bench.projects.elements(&task.grant()).await.unwrap();
    assert_eq!(listed[0].name, "Air");
    assert_eq!(listed[1], made);

    let change = ElementChange {
        name: Some("Level".to_owned()),
        digits: Some(1),
        colour: Some(None),
        location: Some(None),
    };
    let changed = bench
        .projects
        .change_element(&task.grant(), made.id, change)
        .await
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.digits), ("Level", 1));
    assert_eq!((&changed.colour, changed.location), (&None, None));
    assert_eq!(
        bench
            .projects
            .element(&task.grant(), made.id)
            .await
            .unwrap(),
        changed
    );
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let good = new_element("Level", None);
    for (field, new) in [
        (
            "name",
            NewElement {
                name: String::new(),
                ..good.clone()
            },
        ),
        (
            "unit",
            NewElement {
                unit: "°C".to_owned(),
                ..good.clone()
            },
        ),
        (
            "digits",
            NewElement {
                digits: 10,
                ..good.clone()
            },
        ),
        (
            "colour",
            NewElement {
                colour: Some("red".to_owned()),
                ..good.clone()
            },
        ),
        (
            "location",
            NewElement {
                location: Some(LocationId::from_bytes([1; 16])),
                ..good.clone()
            },
        ),
    ] {
        let error = bench
            .projects
            .create_element(&task.grant(), new)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ProjectsError::Invalid { field: found, .. } if found == field),
            "{field}: {error}"
        );
    }
}

#[test]
fn kinds_have_one_word_each() {
    for kind in [
        ElementKind::Measured,
        ElementKind::Virtual,
        ElementKind::Manual,
        ElementKind::Output,
    ] {
        assert_eq!(ElementKind::from_name(kind.name()), Some(kind));
    }
    for kind in [ValueKind::Number, ValueKind::Boolean, ValueKind::State] {
        assert_eq!(ValueKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(ValueKind::from_name("text"), None);
}
