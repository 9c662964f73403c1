//! Deployments: one source at an instant, and what the store is asked for.

use super::*;

pub(super) fn new(
    element: ElementId,
    device: DeviceId,
    from: i64,
    to: Option<i64>,
) -> NewDeployment {
    NewDeployment {
        element,
        device,
        channel: "level".to_owned(),
        interval_us: 60_000_000,
        from: at(from),
        to: to.map(at),
    }
}

#[tokio::test]
async fn an_element_has_one_source_at_an_instant() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let element = bench.element(&task, "Level", None).await;
    let device = bench.device(&task, None).await;
    let create = async |from, to| {
        let new = new(element, device, from, to);
        bench.projects.create_deployment(&task.grant(), new).await
    };
    let first = create(100, Some(200)).await.unwrap();
    for (from, to) in [
        (0, None),
        (0, Some(101)),
        (150, Some(160)),
        (199, None),
        (100, Some(200)),
    ] {
        let error = create(from, to).await.unwrap_err();
        assert!(
            matches!(error, ProjectsError::Overlap { with } if with == first.id),
            "{from} {to:?}"
        );
    }
    create(0, Some(100)).await.unwrap();
    let last = create(200, None).await.unwrap();
    assert!(matches!(
        create(300, None).await,
        Err(ProjectsError::Overlap { .. })
    ));
    for to in [200, 199] {
        let error = create(200, Some(to)).await.unwrap_err();
        assert!(matches!(error, ProjectsError::Invalid { field: "to", .. }));
    }
    let end = async |id, to| {
        bench
            .projects
            .end_deployment(&task.grant(), id, at(to))
            .await
    };
    assert!(matches!(
        end(first.id, 201).await,
        Err(ProjectsError::Overlap { .. })
    ));
    assert!(matches!(
        end(last.id, 200).await,
        Err(ProjectsError::Invalid { .. })
    ));
    assert_eq!(end(last.id, 400).await.unwrap().to, Some(at(400)));
    create(400, None).await.unwrap();
    let listed = bench.projects.deployments(&task.grant()).await.unwrap();
    let times: Vec<_> = listed.iter().map(|one| (one.from, one.to)).collect();
    assert_eq!(
        times,
        [
            (at(0), Some(at(100))),
            (at(100), Some(at(200))),
            (at(200), Some(at(400))),
            (at(400), None)
        ]
    );
    let newest = bench
        .projects
        .element(&task.grant(), element)
        .await
        .unwrap();
    assert_eq!(newest.deployment.map(|one| one.from), Some(at(400)));
}

#[tokio::test]
async fn sources_and_elements_follow_the_dates() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let [one, two] = [
        bench.element(&task, "One", None).await,
        bench.element(&task, "Two", None).await,
    ];
    let [old, young] = [
        bench.device(&task, None).await,
        bench.device(&task, None).await,
    ];
    for new in [
        new(one, old, 0, Some(100)),
        new(one, young, 100, None),
        new(two, young, 50, None),
    ] {
        bench
            .projects
            .create_deployment(&task.grant(), new)
            .await
            .unwrap();
    }
    let sources = bench
        .projects
        .sources(&task.grant(), one)
        .await
        .unwrap()
        .unwrap();
    let source = |device, from, to: Option<i64>| Source {
        device,
        channel: "level".to_owned(),
        from: at(from),
        to: to.map(at),
    };
    assert_eq!(
        sources,
        [source(old, 0, Some(100)), source(young, 100, None)].into()
    );
}

#[tokio::test]
async fn sources_are_remembered_no_longer_than_they_are_so() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let element = bench.element(&task, "Level", None).await;
    let device = bench.device(&task, None).await;
    let sources = async || bench.projects.sources(&task.grant(), element).await;
    let times = async || -> Vec<_> {
        let found = sources().await.unwrap().unwrap();
        found
            .iter()
            .map(|source| (source.from, source.to))
            .collect()
    };
    assert_eq!(times().await, []);
    let new = new(element, device, 0, None);
    let made = bench.projects.create_deployment(&task.grant(), new).await;
    assert_eq!(times().await, [(at(0), None)]);
    let id = made.unwrap().id;
    let ended = bench
        .projects
        .end_deployment(&task.grant(), id, at(100))
        .await;
    ended.unwrap();
    for _ in 0..2 {
        assert_eq!(times().await, [(at(0), Some(at(100)))]);
    }
    // Other elements by the way of many, this one remembered.
    let mut elements = vec![element];
    for number in 0..6 {
        elements.push(bench.element(&task, &format!("{number}"), None).await);
    }
    for _ in 0..2 {
        let all = bench.projects.sources_of(&task.grant(), &elements).await;
        let counts: Vec<_> = all
            .unwrap()
            .into_iter()
            .map(|sources| sources.unwrap().len())
            .collect();
        assert_eq!(counts, [1, 0, 0, 0, 0, 0, 0]);
    }
    let project = task.grant::<Read>().project();
    bench.keys.erase_project(project).await.unwrap();
    assert!(matches!(sources().await, Err(ProjectsError::NoProject)));
}
