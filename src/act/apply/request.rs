//! One request to the API server: under a timeout, and a write only while this replica leads.

use json_patch::Patch;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{GetParams, PatchParams};
use kube::core::{Request, Resource};
use serde_json::Value;
use tokio::time::timeout;

use super::{Applied, Applier, WRITE_TIMEOUT};
use crate::act::error::ActError;
use crate::act::object::Object;
use crate::act::ownership::FIELD_MANAGER;
use crate::watch::TemplateIds;
use crate::watch::rollout::{DeploymentKey, Revision, Rollout};

impl Applier {
    pub(super) async fn change(&self, key: &DeploymentKey, patch: Option<Patch>) -> Result<Applied, ActError> {
        let Some(patch) = patch else { return Ok(Applied::Unchanged) };
        let after = self.write::<Deployment>(&key.namespace, &key.name, patch).await?;
        Ok(Applied::Written { generation: after.generation() })
    }

    /// The Deployment of the facts, as it is now.
    pub(super) async fn deployment_of(&self, facts: &Rollout) -> Result<Object, ActError> {
        let (namespace, name) = (&facts.key.namespace, &facts.key.name);
        let found = self.read::<Deployment>(namespace, name).await?;
        let conflict = |detail: String| ActError::Conflict { object: format!("Deployment {}", facts.key), detail };
        if found.uid() != facts.uid {
            return Err(conflict("it was deleted and created anew".to_owned()));
        }
        if found.generation() != facts.generation {
            let (now, then) = (found.generation(), facts.generation);
            return Err(conflict(format!("its generation is {now}, and {then} was decided on")));
        }
        Ok(found)
    }

    /// A ReplicaSet of the facts, as it is now.
    pub(super) async fn replica_set_of(&self, facts: &Rollout, revision: &Revision) -> Result<Object, ActError> {
        let (namespace, name) = (&facts.key.namespace, &revision.replica_set);
        let found = self.read::<ReplicaSet>(namespace, name).await?;
        let conflict = |detail: &str| ActError::Conflict {
            object: format!("ReplicaSet {namespace}/{name}"),
            detail: detail.to_owned(),
        };
        if found.uid() != revision.uid {
            return Err(conflict("it was deleted and created anew"));
        }
        if !found.is_controlled_by(&facts.uid) {
            return Err(conflict("it is not the Deployment's any more"));
        }
        if TemplateIds::of(found.template().clone()).id != revision.template {
            return Err(conflict("its template is another one"));
        }
        Ok(found)
    }

    pub(super) async fn read<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Object, ActError> {
        self.send::<K>(namespace, name, Call::Get).await
    }

    pub(super) async fn write<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<Object, ActError> {
        if !(self.may_write)() {
            return Err(ActError::NotLeading);
        }
        self.send::<K>(namespace, name, Call::Patch(patch)).await
    }

    async fn send<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
        call: Call,
    ) -> Result<Object, ActError> {
        let object = || format!("{} {namespace}/{name}", K::kind(&()));
        let url = Request::new(K::url_path(&(), Some(namespace)));
        let request = match call {
            Call::Get => url.get(name, &GetParams::default()),
            Call::Patch(patch) => url.patch(name, &as_us(), &kube::api::Patch::Json::<()>(patch)),
        };
        let failed = |source| ActError::of(object(), source);
        let request = request.map_err(kube::Error::BuildRequest).map_err(failed)?;
        let answer = timeout(WRITE_TIMEOUT, self.client.request::<Value>(request))
            .await
            .map_err(|_| ActError::TimedOut { object: object(), after: WRITE_TIMEOUT })?;
        Object::new(answer.map_err(failed)?).map_err(|source| ActError::Unreadable { object: object(), source })
    }
}

/// One request.
enum Call {
    Get,
    Patch(Patch),
}

/// Writes are recorded under our name in `metadata.managedFields`.
fn as_us() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
