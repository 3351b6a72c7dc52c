//! What comes of a write.

use std::time::Duration;

/// Why a change was not made, or not known to be made.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Nothing was sent: this replica does not lead, or not for long enough to finish a write.
    #[error("nothing was written: this replica does not hold the Lease for long enough")]
    NotLeading,
    /// The object is not the one that was decided on any more: read again and decide again.
    #[error("{object} is not as it was decided on: {detail}")]
    Conflict {
        /// Kind and name.
        object: String,
        /// What differs.
        detail: String,
    },
    /// The API server understood and refused: missing rights, an admission policy, an invalid object. The same change
    /// will be refused again until somebody changes something else.
    #[error("the change of {object} was refused")]
    Denied {
        /// Kind and name.
        object: String,
        /// Its answer.
        source: kube::Error,
    },
    /// No answer, or one that says that the server is in trouble. The change may have been made.
    #[error("the change of {object} failed")]
    Failed {
        /// Kind and name.
        object: String,
        /// What happened.
        source: kube::Error,
    },
    /// No answer in time. The change may have been made.
    #[error("no answer for {object} within {} s", .after.as_secs())]
    TimedOut {
        /// Kind and name.
        object: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The API server's answer is no Deployment or ReplicaSet.
    #[error("{object} cannot be read")]
    Unreadable {
        /// Kind and name.
        object: String,
        /// What is wrong with it.
        source: super::object::NotAnObject,
    },
}

/// The four ways a write ends, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Accepted, or found to be made already.
    Applied,
    /// Somebody else wrote first.
    Conflict,
    /// Refused.
    Denied,
    /// No answer, or a server in trouble.
    Failed,
}

impl WriteOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Applied, Self::Conflict, Self::Denied, Self::Failed];

    /// As metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Conflict => "Conflict",
            Self::Denied => "Denied",
            Self::Failed => "Failed",
        }
    }

    /// How a write ended; `None` when nothing was sent.
    #[must_use]
    pub const fn of<T>(result: &Result<T, ActError>) -> Option<Self> {
        match result {
            Ok(_) => Some(Self::Applied),
            Err(ActError::NotLeading) => None,
            Err(ActError::Conflict { .. }) => Some(Self::Conflict),
            Err(ActError::Denied { .. }) => Some(Self::Denied),
            Err(ActError::Failed { .. } | ActError::TimedOut { .. } | ActError::Unreadable { .. }) => {
                Some(Self::Failed)
            }
        }
    }
}

impl ActError {
    /// What was decided on is not so any more.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Sorts the API server's answer.
    ///
    /// A JSON patch whose `test` fails is answered with 422 and no cause, an object that fails validation with 422 and
    /// the fields that are wrong. 429 says "later", not "no".
    pub(super) fn of(object: String, source: kube::Error) -> Self {
        let kube::Error::Api(status) = &source else { return Self::Failed { object, source } };
        let names_a_cause = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
        match status.code {
            404 => Self::Conflict { object, detail: "it is gone".to_owned() },
            409 => Self::Conflict { object, detail: status.message.clone() },
            422 if !names_a_cause => Self::Conflict { object, detail: "it was changed meanwhile".to_owned() },
            408 | 429 => Self::Failed { object, source },
            400..=499 => Self::Denied { object, source },
            _ => Self::Failed { object, source },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(status: serde_json::Value) -> Option<WriteOutcome> {
        let status = serde_json::from_value(status).unwrap();
        let error = ActError::of("Deployment shop/web".into(), kube::Error::Api(Box::new(status)));
        WriteOutcome::of::<()>(&Err(error))
    }

    #[test]
    fn a_failed_test_is_a_conflict_and_an_invalid_object_a_refusal() {
        let failed_test = serde_json::json!({"code": 422, "reason": "Invalid", "details": {},
            "message": "the server rejected our request due to an error in our request"});
        assert_eq!(answer(failed_test), Some(WriteOutcome::Conflict));
        let invalid = serde_json::json!({"code": 422, "reason": "Invalid", "details": {"causes": [
            {"reason": "FieldValueInvalid", "field": "spec.replicas", "message": "must be 0 or more"}]}});
        assert_eq!(answer(invalid), Some(WriteOutcome::Denied));
    }

    #[test]
    fn each_answer_of_the_server_has_one_of_four_outcomes() {
        for (code, outcome) in [
            (409, WriteOutcome::Conflict),
            (404, WriteOutcome::Conflict),
            (400, WriteOutcome::Denied),
            (401, WriteOutcome::Denied),
            (403, WriteOutcome::Denied),
            (429, WriteOutcome::Failed),
            (500, WriteOutcome::Failed),
            (503, WriteOutcome::Failed),
        ] {
            assert_eq!(answer(serde_json::json!({"code": code})), Some(outcome), "{code}");
        }
        assert_eq!(WriteOutcome::of::<()>(&Err(ActError::NotLeading)), None, "nothing was sent");
    }
}
