# Asks for the rollback of one template of a Deployment, and reads what came of it.
#
#   terraform apply -var template=$(kubectl get ebp checkout -n shop -o jsonpath='{.status.rollouts.checkout.newest.template}')
#
# It names a template and not "the last release", so applying it twice rolls back once, and never the revision that
# came back. Where the chart's admission policies are installed, the account needs the verb `rollback` on
# errorbudgetpolicies. The machine needs error-budget-gatekeeper and the same kubeconfig.

terraform {
  required_version = ">= 1.4"
  required_providers {
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.20"
    }
  }
}

variable "namespace" {
  type    = string
  default = "shop"
}

variable "deployment" {
  type    = string
  default = "checkout"
}

variable "policy" {
  type    = string
  default = "checkout"
}

variable "template" {
  type        = string
  default     = ""
  description = "Id of the template to roll back, as `kubectl errorbudget explain` shows it. Empty asks for nothing."
}

# Made anew for each template.
resource "terraform_data" "template" {
  input = var.template
}

resource "kubernetes_annotations" "rollback" {
  count = var.template == "" ? 0 : 1

  api_version = "apps/v1"
  kind        = "Deployment"
  metadata {
    name      = var.deployment
    namespace = var.namespace
  }
  annotations = {
    "errorbudget.dev/rollback" = var.template
  }
  field_manager = "terraform-rollback"

  lifecycle {
    # The operator takes it away once it has answered: that is no drift.
    ignore_changes       = [annotations]
    replace_triggered_by = [terraform_data.template]
  }
}

resource "terraform_data" "outcome" {
  count      = var.template == "" ? 0 : 1
  depends_on = [kubernetes_annotations.rollback]

  triggers_replace = [var.template]

  provisioner "local-exec" {
    environment = {
      NAMESPACE  = var.namespace
      DEPLOYMENT = var.deployment
      TEMPLATE   = var.template
    }
    # The first line asks again, which changes nothing, and waits for the operator's answer.
    command = <<-EOT
      set -e
      error-budget-gatekeeper rollback "deployment/$DEPLOYMENT" --namespace "$NAMESPACE" --template "$TEMPLATE" --timeout 2m
      code=0
      error-budget-gatekeeper wait "deployment/$DEPLOYMENT" --namespace "$NAMESPACE" --timeout 15m || code=$?
      test "$code" -eq 3
    EOT
  }
}

data "kubernetes_resource" "policy" {
  depends_on = [terraform_data.outcome]

  api_version = "errorbudget.dev/v1alpha1"
  kind        = "ErrorBudgetPolicy"
  metadata {
    name      = var.policy
    namespace = var.namespace
  }
}

output "incident" {
  description = "The Deployment's last rollback: what was rolled back, when, why, and how the service was afterwards."
  value       = try(data.kubernetes_resource.policy.object.status.rollouts[var.deployment].incident, null)
}
