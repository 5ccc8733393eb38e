//! Plans of containers, without a daemon.

use bmm_deploy::container::{ContainerLimits, ContainerSpec, Control, Hardening, PlanError};

crate::trials!(
    a_plan_has_every_wall,
    what_cannot_be_a_container_is_refused,
    leaving_out_a_control_changes_the_plan,
);

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
        instance: "test".to_owned(),
        slug: "weather".to_owned(),
        revision: "r1".to_owned(),
        seat: 7,
        uid: 1_879_048_199,
        control_dir: "/run/bmm/control/7".into(),
        limits: ContainerLimits::default(),
        oci_runtime: None,
        seccomp_file: None,
        hardening: Hardening::Required,
    }
}

async fn a_plan_has_every_wall() {
    insta::assert_json_snapshot!("a_plan_has_every_wall", spec().plan().unwrap());
}

async fn what_cannot_be_a_container_is_refused() {
    let refused = |change: fn(&mut ContainerSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec.plan().unwrap_err()
    };
    for slug in ["", "../x", "a b", "A", "a\n", "a;b", "a/b"] {
        let mut spec = spec();
        spec.slug = slug.to_owned();
        assert!(matches!(spec.plan(), Err(PlanError::Slug(_))), "{slug}");
    }
    assert_eq!(
        refused(|spec| spec.instance = "a/b".to_owned()),
        PlanError::Instance
    );
    assert_eq!(refused(|spec| spec.instance = String::new()), PlanError::Instance);
    assert_eq!(refused(|spec| spec.revision = String::new()), PlanError::Revision);
    assert_eq!(
        refused(|spec| spec.revision = "a\u{1b}[2J".to_owned()),
        PlanError::Revision
    );
    assert_eq!(
        refused(|spec| spec.revision = "a".repeat(1025)),
        PlanError::Revision
    );
    assert_eq!(refused(|spec| spec.uid = 0), PlanError::Uid(0));
    assert_eq!(refused(|spec| spec.uid = u32::MAX), PlanError::Uid(u32::MAX));
    assert_eq!(
        refused(|spec| spec.oci_runtime = Some("a b".to_owned())),
        PlanError::OciRuntime
    );
    for path in ["", "control", "/run/../etc", "/run/a\nb"] {
        let mut spec = spec();
        spec.control_dir = path.into();
        assert_eq!(spec.plan(), Err(PlanError::Path(path.into())));
    }
    assert_eq!(
        refused(|spec| spec.limits.memory_mib = 0),
        PlanError::Limit("memory_mib", 6)
    );
    assert_eq!(
        refused(|spec| spec.limits.processes = 0),
        PlanError::Limit("processes", 1)
    );
    assert_eq!(
        refused(|spec| spec.limits.tmp_mib = 0),
        PlanError::Limit("tmp_mib", 1)
    );
}

async fn leaving_out_a_control_changes_the_plan() {
    let plan = spec().plan().unwrap();
    for control in Control::ALL {
        let changed = plan.clone().insecure_without(control) != plan;
        let is_not_a_wall = [Control::Image, Control::Command, Control::OciRuntime].contains(&control);
        assert_eq!(changed, !is_not_a_wall, "{control}");
    }
}
