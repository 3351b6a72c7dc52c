//! What went wrong, as a person reads it.

use kube::core::Status;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no way to a cluster.
    #[error("no Kubernetes configuration can be used: {0}")]
    Configuration(String),
    /// The API server said no.
    #[error("{doing}: refused: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Its words, without what names its own machinery.
        reason: String,
    },
    /// The API server could not be reached, did not answer in time, or is in trouble. It may pass.
    #[error("{doing}: {reason}")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// How it showed.
        reason: String,
    },
    /// The object was changed between reading and writing. It may pass.
    #[error("{doing}: it was changed at the same time; try again")]
    Changed {
        /// What was being done.
        doing: String,
    },
    /// What was asked for does not exist or cannot be done now; the text says what to do instead.
    #[error("{0}")]
    Impossible(String),
    /// The process cannot work here.
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    /// Nobody can read what is printed.
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
}

impl Problem {
    /// Sorts what came of a request.
    pub(super) fn of(doing: &str, error: kube::Error) -> Self {
        let doing = doing.to_owned();
        let kube::Error::Api(status) = error else {
            return Self::Unreachable { doing, reason: innermost(&error) };
        };
        match status.code {
            404 => Self::Impossible(format!("{doing}: {}", status.message)),
            409 => Self::Changed { doing },
            422 if is_failed_test(&status) => Self::Changed { doing },
            401 => {
                Self::Refused { doing, reason: "it does not know you; check the kubeconfig's credentials".to_owned() }
            }
            408 | 429 | 500.. => Self::Unreachable { doing, reason: status.message.clone() },
            _ => Self::Refused { doing, reason: in_words(&status.message).to_owned() },
        }
    }

    /// Trying again later may help.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A JSON patch whose `test` fails is answered with 422 and no cause; the refusal of an admission policy says more.
fn is_failed_test(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.causes.is_empty())
        && in_words(&status.message) == status.message
}

/// What the API server says, without the names of the policy or webhook that said it.
fn in_words(message: &str) -> &str {
    let marks = ["denied request: ", "denied the request: ", "is forbidden: ", "is invalid: "];
    marks.into_iter().find_map(|mark| message.split_once(mark)).map_or(message, |(_, words)| words)
}

/// The last error in the chain: those around it say that a request failed, it says why.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(status: Value) -> Problem {
        let status: Status = serde_json::from_value(status).expect("a status");
        Problem::of("changing Deployment shop/web", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn the_refusal_of_an_admission_policy_is_told_in_its_own_words() {
        let message = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'gatekeeper-asks' with binding \
                       'gatekeeper-asks' denied request: override needs the verb override on errorbudgetpolicies";
        let problem = told(json!({"code": 422, "message": message, "reason": "Invalid"}));
        let words = "changing Deployment shop/web: refused: override needs the verb override on errorbudgetpolicies";
        assert_eq!(problem.to_string(), words);
        assert!(!problem.may_pass());
    }

    #[test]
    fn a_missing_right_is_told_without_the_name_of_the_object_twice() {
        let message = "deployments.apps \"web\" is forbidden: User \"eva\" cannot patch resource \"deployments\"";
        let problem = told(json!({"code": 403, "message": message, "reason": "Forbidden"}));
        let words = "changing Deployment shop/web: refused: User \"eva\" cannot patch resource \"deployments\"";
        assert_eq!(problem.to_string(), words);
    }

    #[test]
    fn a_failed_test_of_a_patch_is_a_change_by_somebody_else() {
        let message = "the server rejected our request due to an error in our request";
        assert!(matches!(told(json!({"code": 422, "message": message, "details": {}})), Problem::Changed { .. }));
        assert!(matches!(told(json!({"code": 409, "message": "conflict"})), Problem::Changed { .. }));
    }

    #[test]
    fn a_server_in_trouble_may_recover() {
        for code in [429, 500, 503] {
            assert!(told(json!({"code": code, "message": "later"})).may_pass(), "{code}");
        }
        assert!(!told(json!({"code": 404, "message": "not found"})).may_pass());
    }
}
