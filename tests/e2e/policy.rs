//! Policies of the scenarios.

use serde_json::{Value, json};

/// A policy for the Deployment `checkout` of a scenario's namespace.
#[derive(Debug, Clone)]
pub(crate) struct Policy(Value);

impl Policy {
    /// 99.9 % of the requests without an error; everything else as the schema has it, but that it lets rollouts in whatever
    /// is left of the budget.
    pub(crate) fn by_default() -> Self {
        let ratio = json!({"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"});
        Self(json!({
            "selector": {"matchLabels": {"app": "checkout"}},
            "objectives": [{"name": "availability", "target": "99.9", "indicator": {"ratio": ratio}}],
            "validate": {"threshold": "1000"},
        }))
    }

    /// The same with short times, for services that are scraped every 5 seconds.
    pub(crate) fn quick() -> Self {
        Self::by_default()
            .with("canary", json!({"hold": "20s"}))
            .with("detection", json!({"window": "10s", "looks": 2}))
            .with("monitor", json!({"timeout": "20s"}))
    }

    /// And 99 % of the requests within 250 ms.
    pub(crate) fn within_250_ms(mut self) -> Self {
        let latency = json!({"histogram": "http_request_duration_seconds", "threshold": "250ms"});
        let objective = json!({"name": "latency", "target": "99", "indicator": {"latency": latency}});
        if let Some(objectives) = self.0["objectives"].as_array_mut() {
            objectives.push(objective);
        }
        self
    }

    /// Sets a field of the spec.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    pub(crate) fn manifest(&self, namespace: &str) -> String {
        json!({
            "apiVersion": "errorbudget.dev/v1alpha1",
            "kind": "ErrorBudgetPolicy",
            "metadata": {"name": "checkout", "namespace": namespace},
            "spec": self.0,
        })
        .to_string()
    }
}
