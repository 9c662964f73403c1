//! Channels become elements.

use super::*;

fn channel<'a>(name: &'a str, unit: &'a str) -> ChannelDescription<'a> {
    ChannelDescription {
        name,
        label: None,
        unit,
        kind: ValueKind::Number,
        digits: 2,
        interval_us: 1_000_000,
    }
}

fn table<'a>(device: DeviceId, channels: &'a [ChannelDescription<'a>]) -> DeviceChannels<'a> {
    DeviceChannels {
        device,
        name: "Station",
        location: None,
        channels,
        from: at(10),
    }
}

#[tokio::test]
async fn each_new_channel_makes_one_element() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let here = bench.location(&task, "Here").await;
    let device = bench.device(&task, Some(here)).await;
    let level = ChannelDescription {
        label: Some("Water level"),
        ..channel("river.level", "m")
    };
    let channels = [level, channel("cpu.load", "")];
    let table = DeviceChannels {
        location: Some(here),
        ..table(device, &channels)
    };
    let bound = bench
        .projects
        .bind_channels(&task.grant(), table)
        .await
        .unwrap();
    assert_eq!(bound.new.len(), 2);
    assert!(bound.mismatches.is_empty());
    let elements = bench.projects.elements(&task.grant()).await.unwrap();
    let names: Vec<_> = elements
        .iter()
        .map(|element| element.name.as_str())
        .collect();
    assert_eq!(names, ["Station Water level", "Station cpu.load"]);
    let element = &elements[0];
    assert_eq!((element.unit.as_str(), element.digits), ("m", 2));
    assert_eq!(
        (element.kind, element.location),
        (ElementKind::Measured, Some(here))
    );
    let deployment = element.deployment.as_ref().unwrap();
    assert_eq!((deployment.from, deployment.to), (at(10), None));
    assert_eq!(deployment.interval_us, 1_000_000);

    let again = bench
        .projects
        .bind_channels(&task.grant(), table)
        .await
        .unwrap();
    assert_eq!(again, Bound::default());
    let more = [level, channel("cpu.load", ""), channel("cpu.heat", "Cel")];
    let table = DeviceChannels {
        channels: &more,
        ..table
    };
    let bound = bench
        .projects
        .bind_channels(&task.grant(), table)
        .await
        .unwrap();
    assert_eq!(bound.new.len(), 1);
    assert_eq!(bound.new[0].channel, "cpu.heat");
}

#[tokio::test]
async fn the_same_table_twice_at_once_makes_elements_once() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let device = bench.device(&task, None).await;
    let channels = [channel("a", "m"), channel("b", "m"), channel("a", "m")];
    let grant = task.grant();
    let bind = || {
        bench
            .projects
            .bind_channels(&grant, table(device, &channels))
    };
    let (one, two, three) = tokio::join!(bind(), bind(), bind());
    let made = [one, two, three].map(|bound| bound.unwrap().new.len());
    assert_eq!(made.iter().sum::<usize>(), 2);
    assert_eq!(
        bench.projects.elements(&task.grant()).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn a_changed_unit_is_reported_and_not_applied() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let device = bench.device(&task, None).await;
    let before = [channel("level", "m")];
    let grant = task.grant();
    let element = bench
        .projects
        .bind_channels(&grant, table(device, &before))
        .await
        .unwrap()
        .new[0]
        .element;
    let after = [ChannelDescription {
        kind: ValueKind::State,
        interval_us: 5_000_000,
        digits: 7,
        ..channel("level", "cm")
    }];
    let bound = bench
        .projects
        .bind_channels(&grant, table(device, &after))
        .await
        .unwrap();
    assert!(bound.new.is_empty());
    let told: Vec<_> = bound
        .mismatches
        .iter()
        .map(|one| {
            (
                one.field,
                one.element_has.as_str(),
                one.channel_has.as_str(),
            )
        })
        .collect();
    assert_eq!(told, [("unit", "m", "cm"), ("kind", "number", "state")]);
    let left = bench
        .projects
        .element(&task.grant(), element)
        .await
        .unwrap();
    assert_eq!((left.unit.as_str(), left.digits), ("m", 2));
    assert_eq!(left.deployment.unwrap().interval_us, 5_000_000);
}

#[tokio::test]
async fn a_channel_that_a_person_unbound_stays_unbound() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let device = bench.device(&task, None).await;
    let channels = [channel("level", "m")];
    let grant = task.grant();
    let bind = || {
        bench
            .projects
            .bind_channels(&grant, table(device, &channels))
    };
    bind().await.unwrap();
    let deployment = bench
        .projects
        .deployments(&task.grant())
        .await
        .unwrap()
        .remove(0);
    bench.hands.advance(Duration::from_secs(60));
    let now = bench.clock.now();
    bench
        .projects
        .end_deployment(&grant, deployment.id, now)
        .await
        .unwrap();
    assert_eq!(bind().await.unwrap(), Bound::default());
}

#[tokio::test]
async fn a_device_that_invents_channels_does_not_fill_the_project() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let [device, other] = [
        bench.device(&task, None).await,
        bench.device(&task, None).await,
    ];
    let grant = task.grant();
    let names: Vec<String> = (0..1_280).map(|number| format!("c{number}")).collect();
    let channels: Vec<_> = names.iter().map(|name| channel(name, "m")).collect();
    let (mut new, mut refused) = (0, 0);
    for part in channels.chunks(256) {
        let bound = bench.projects.bind_channels(&grant, table(device, part));
        let bound = bound.await.unwrap();
        new += bound.new.len();
        refused += bound.refused;
    }
    assert_eq!((new, refused), (1_024, 256));
    let again = bench
        .projects
        .bind_channels(&grant, table(device, &channels[..1]));
    assert_eq!(again.await.unwrap(), Bound::default());
    let honest = bench
        .projects
        .bind_channels(&grant, table(other, &channels[..2]));
    assert_eq!(honest.await.unwrap().new.len(), 2);
}
