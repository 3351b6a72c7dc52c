//! `release`: takes the operator's holds away and restores the owner's settings, also when the operator is down.
//!
//! It writes what the operator itself would write ([`patch::release`]), with the same preconditions, and one annotation
//! more: the reason, by which the admission policies let the write through.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, ListParams, PatchParams};
use kube::{Api, ResourceExt};

use super::access::{Cluster, call};
use super::ask::{FIELD_MANAGER, reason};
use super::{Access, Exit, Problem, Program, Target, print};
use crate::act::object::Object;
use crate::act::patch;
use crate::api::ErrorBudgetPolicy;
use crate::policy::{PolicyKey, Selector};
use crate::watch::annotations::{HOLD, HoldMark, RELEASE};
use crate::watch::rollout::DeploymentKey;

/// Deployments asked for at once.
const PAGE: u32 = 200;
/// How often a release is tried when others write to the Deployment at the same moment.
const ATTEMPTS: u32 = 5;
/// An operator that runs and still has its reason holds again within this time.
const HELD_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// What to release.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT", required_unless_present = "all")]
    pub target: Option<Target>,
    /// All Deployments that the operator holds in the namespace
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// With --all: of all namespaces
    #[arg(long, short = 'A', requires = "all", conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// With --all: only what policies with these labels hold, as for kubectl --selector, and what is held by none that is there
    #[arg(long, value_name = "SELECTOR", requires = "all", value_parser = Selector::parse)]
    pub policy_selector: Option<Selector>,
    /// Why: it is kept in an annotation
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// Releases one Deployment or all.
pub(super) async fn run(args: &ReleaseArgs, program: Program) -> Result<Exit, Problem> {
    let cluster = args.access.open().await?;
    let found = match &args.target {
        Some(target) => vec![one(&cluster, target).await?],
        None => {
            let mut held = list(&cluster, args.all_namespaces).await?;
            if let Some(ours) = &args.policy_selector {
                let others = policies_besides(&cluster, args.all_namespaces, ours).await?;
                held.retain(|object| !others.contains(&holder_of(object)));
            }
            held
        }
    };
    let value = format!("{} ({:.0})", args.reason, Timestamp::now());
    let (mut released, mut failed) = (Vec::new(), 0);
    for object in found {
        let key = key_of(&object);
        match release(&cluster, object, &value).await {
            Ok(Some(what)) => {
                print(&format!("{key}: released: {what}\n"))?;
                released.push(key);
            }
            Ok(None) if args.all => {}
            Ok(None) => print(&format!("{key}: the operator does not hold it; nothing was changed\n"))?,
            Err(problem) => {
                print(&format!("{key}: not released: {problem}\n"))?;
                failed += 1;
            }
        }
    }
    if args.all && released.is_empty() && failed == 0 {
        print("The operator holds nothing.\n")?;
    }
    if !released.is_empty() {
        tokio::time::sleep(HELD_AGAIN_WITHIN).await;
    }
    for key in released {
        if is_held_again(&cluster, &key).await? {
            print(&format!("{key}: held again: {}\n", way_out(program, &key)))?;
            failed += 1;
        }
    }
    Ok(if failed == 0 { Exit::Well } else { Exit::Refused })
}

/// Releases what was read. `None` when nothing of it is the operator's; else what was done.
async fn release(cluster: &Cluster, mut object: DynamicObject, value: &str) -> Result<Option<String>, Problem> {
    let key = key_of(&object);
    let deployments = within(cluster, &key.namespace);
    let doing = format!("releasing Deployment {key}");
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    for _ in 0..ATTEMPTS {
        let Some(patch) = patch_of(&as_object(object, &doing)?, value) else { return Ok(None) };
        let what = told(&patch);
        let answer =
            call(&doing, deployments.patch(&key.name, &parameters, &kube::api::Patch::Json::<()>(patch))).await;
        let is_kept = answer.and_then(|after| Ok(patch_of(&as_object(after, &doing)?, value).is_some()));
        match is_kept {
            Ok(false) => return Ok(Some(what)),
            Ok(true) => return Err(Problem::Impossible(format!("{doing}: {KEPT}"))),
            Err(Problem::Changed { .. }) => {}
            Err(problem) => return Err(problem),
        }
        match call(&doing, deployments.get_opt(&key.name)).await? {
            Some(now) => object = now,
            None => return Ok(None),
        }
    }
    Err(Problem::Changed { doing })
}

const KEPT: &str = "the API server keeps the hold, as its admission policies want it: the verb override on errorbudgetpolicies \
                    is needed";

/// The operator's own release, and the reason.
fn patch_of(deployment: &Object, value: &str) -> Option<Patch> {
    let mut patch = patch::release(deployment)?;
    let path = PointerBuf::from_tokens(["metadata", "annotations", RELEASE]);
    patch.0.push(PatchOperation::Add(AddOperation { path, value: value.into() }));
    Some(patch)
}

/// What a patch puts back.
fn told(patch: &Patch) -> String {
    let settings = ["strategy", "minReadySeconds", "progressDeadlineSeconds"];
    let paths: Vec<String> = patch
        .0
        .iter()
        .filter(|step| !matches!(step, PatchOperation::Test(_)))
        .map(|step| step.path().to_string())
        .collect();
    let touches = |field: &str| paths.iter().any(|path| path.starts_with(&format!("/spec/{field}")));
    let restored: Vec<&str> = settings.into_iter().filter(|field| touches(field)).collect();
    let mut did = Vec::new();
    if touches("paused") {
        did.push("no longer paused".to_owned());
    }
    if !restored.is_empty() {
        did.push(format!("its owner's {} restored", restored.join(", ")));
    }
    if did.is_empty() {
        did.push("the operator's mark taken away".to_owned());
    }
    did.join("; ")
}

fn way_out(program: Program, key: &DeploymentKey) -> String {
    format!(
        "the operator runs and its reason is still there. `{} explain deployment/{} --namespace {}` says what lets it \
         go on; deleting the policy, or mode: Observe in it, releases it for good",
        program.as_str(),
        key.name,
        key.namespace
    )
}

/// Whether somebody holds it anew.
async fn is_held_again(cluster: &Cluster, key: &DeploymentKey) -> Result<bool, Problem> {
    let doing = format!("reading Deployment {key}");
    let now = call(&doing, within(cluster, &key.namespace).get_opt(&key.name)).await?;
    let annotations = now.and_then(|now| now.metadata.annotations).unwrap_or_default();
    Ok(annotations.contains_key(HOLD))
}

async fn one(cluster: &Cluster, target: &Target) -> Result<DynamicObject, Problem> {
    let name = format!("{}/{}", cluster.namespace, target.name());
    let deployments = within(cluster, &cluster.namespace);
    let found = call(&format!("reading Deployment {name}"), deployments.get_opt(target.name())).await?;
    found.ok_or_else(|| Problem::Impossible(format!("there is no Deployment {name}")))
}

/// All Deployments, a page at a time; of each page only what is held is kept.
async fn list(cluster: &Cluster, everywhere: bool) -> Result<Vec<DynamicObject>, Problem> {
    let deployments = match everywhere {
        true => Api::all_with(cluster.client.clone(), &resource()),
        false => within(cluster, &cluster.namespace),
    };
    let mut held = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = call("listing Deployments", deployments.list(&page)).await?;
        for object in list.items {
            let key = key_of(&object);
            let is_held = patch::release(&as_object(object.clone(), &format!("reading Deployment {key}"))?).is_some();
            held.extend(is_held.then_some(object));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(held),
        }
    }
}

/// Policies without these labels: somebody else's.
async fn policies_besides(
    cluster: &Cluster,
    everywhere: bool,
    ours: &Selector,
) -> Result<BTreeSet<PolicyKey>, Problem> {
    let policies: Api<ErrorBudgetPolicy> = match everywhere {
        true => Api::all(cluster.client.clone()),
        false => Api::namespaced(cluster.client.clone(), &cluster.namespace),
    };
    let listed = call("listing ErrorBudgetPolicies", policies.list_metadata(&ListParams::default())).await?;
    let others = listed.items.into_iter().filter(|policy| !ours.matches(policy.labels()));
    Ok(others
        .map(|policy| PolicyKey { namespace: policy.namespace().unwrap_or_default(), name: policy.name_any() })
        .collect())
}

/// The policy that the Deployment's hold names.
fn holder_of(object: &DynamicObject) -> PolicyKey {
    let mark = object.annotations().get(HOLD).map(|hold| HoldMark::read(hold));
    PolicyKey { namespace: key_of(object).namespace, name: mark.map(|mark| mark.policy).unwrap_or_default() }
}

fn within(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), namespace, &resource())
}

/// Deployments as the API server sends them: what is put back must be whole, whatever its version knows.
fn resource() -> ApiResource {
    ApiResource::erase::<Deployment>(&())
}

fn key_of(object: &DynamicObject) -> DeploymentKey {
    DeploymentKey {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

fn as_object(object: DynamicObject, doing: &str) -> Result<Object, Problem> {
    let value = serde_json::to_value(object).map_err(|error| Problem::Impossible(format!("{doing}: {error}")))?;
    Object::new(value).map_err(|error| Problem::Impossible(format!("{doing}: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn held() -> Value {
        let own = json!({"policy": "kasse", "reason": "NotConvicted", "own": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "minReadySeconds": 4, "progressDeadlineSeconds": 601,
        }});
        json!({
            "metadata": {"uid": "u", "generation": 7, "annotations": {"errorbudget.dev/hold": own.to_string()}},
            "spec": {
                "paused": true, "minReadySeconds": 2_147_483_646, "progressDeadlineSeconds": 2_147_483_647,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {},
            },
        })
    }

    fn released(mut deployment: Value) -> (Value, String) {
        let object = Object::new(deployment.clone()).expect("an object");
        let patch = patch_of(&object, "uninstalled (2026-03-04T05:16:37Z)").expect("it is held");
        json_patch::patch(&mut deployment, &patch).expect("it applies");
        (deployment, told(&patch))
    }

    #[test]
    fn a_held_canary_gets_its_owners_settings_back_and_the_reason_stays() {
        let (deployment, told) = released(held());
        let spec = json!({
            "minReadySeconds": 4, "progressDeadlineSeconds": 601, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        });
        assert_eq!(deployment["spec"], spec);
        let annotations = json!({"errorbudget.dev/release": "uninstalled (2026-03-04T05:16:37Z)"});
        assert_eq!(deployment["metadata"]["annotations"], annotations);
        let words = "no longer paused; its owner's strategy, minReadySeconds, progressDeadlineSeconds restored";
        assert_eq!(told, words);
    }

    #[test]
    fn a_plain_pause_of_ours_is_taken_away() {
        let mut deployment = held();
        deployment["metadata"]["annotations"]["errorbudget.dev/hold"] = json!(r#"{"policy":"kasse","reason":"x"}"#);
        deployment["spec"] = json!({"paused": true, "template": {}});
        let (deployment, told) = released(deployment);
        assert_eq!((&deployment["spec"], told.as_str()), (&json!({"template": {}}), "no longer paused"));
    }

    #[test]
    fn what_its_owner_paused_is_left_alone() {
        let mut deployment = held();
        deployment["metadata"]["annotations"] = json!({});
        deployment["spec"] = json!({"paused": true, "template": {}});
        assert_eq!(patch_of(&Object::new(deployment).expect("an object"), "x"), None);
    }

    #[tokio::test]
    async fn a_hold_that_the_api_server_keeps_is_not_told_as_released() {
        let server = MockServer::start().await;
        let mut kept = held();
        kept["metadata"]["namespace"] = json!("shop");
        kept["metadata"]["name"] = json!("kettle");
        Mock::given(method("PATCH")).respond_with(ResponseTemplate::new(200).set_body_json(&kept)).mount(&server).await;
        let config = kube::Config::new(server.uri().parse().expect("an address"));
        let cluster =
            Cluster { client: kube::Client::try_from(config).expect("a client"), namespace: "shop".to_owned() };
        let object = serde_json::from_value(kept).expect("an object");
        let problem = release(&cluster, object, "why").await.expect_err("it is still held");
        assert!(problem.to_string().ends_with("the verb override on errorbudgetpolicies is needed"), "{problem}");
    }
}
