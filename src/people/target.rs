//! Which Deployment is meant, as people write it.

use std::fmt;
use std::str::FromStr;

/// `deployment/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// The Deployment's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deployment/{}", self.0)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kinds = ["deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"];
        match text.split_once('/') {
            Some((kind, name)) if kinds.contains(&kind.to_ascii_lowercase().as_str()) && is_name(name) => {
                Ok(Self(name.to_owned()))
            }
            Some((kind, _)) if !kinds.contains(&kind.to_ascii_lowercase().as_str()) => {
                Err(format!("{kind:?} is not governed by any policy; write deployment/NAME"))
            }
            None if is_name(text) => Err(format!("write deployment/{text}")),
            _ => Err("write deployment/NAME".to_owned()),
        }
    }
}

/// Whether a Deployment may have this name.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_as_kubectl_names_it() {
        for text in ["deployment/kasse", "deploy/kasse", "deployments.apps/kasse", "Deployment/kasse"] {
            assert_eq!(text.parse(), Ok(Target("kasse".to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_deployment_is_refused_with_what_to_write() {
        let refusal = |text: &str| text.parse::<Target>().expect_err("it is none");
        assert_eq!(refusal("kasse"), "write deployment/kasse");
        assert_eq!(
            refusal("statefulset/kasse"),
            "\"statefulset\" is not governed by any policy; write deployment/NAME"
        );
        for text in ["", "deployment/", "deployment/a/b", "deployment/Kasse"] {
            assert_eq!(refusal(text), "write deployment/NAME", "{text}");
        }
    }
}
