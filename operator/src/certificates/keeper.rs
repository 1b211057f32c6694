//! The leader's part: makes and replaces the certificate in the Secret, and keeps the webhook configuration current.
//!
//! Everything is compared before it is written, so that nothing is sent when nothing changed. What a kill cut off is gone on
//! with from what stands in the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::runtime::reflector::Store;

use super::{DAYS, Held, Step, from_secret, holds_all, make, plan, to_secret};
use crate::reconcile::MANAGER;
use crate::stores::Stores;
use crate::webhook::configuration::{difference, trusted};

/// How often it is looked at without a cause.
const ROUND: Duration = Duration::from_secs(5);

/// What the leader keeps.
pub struct Keeper {
    /// The API server.
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The names that the certificate is for.
    pub names: BTreeSet<String>,
    /// Somebody else makes the certificate, and has it trusted.
    pub given: bool,
    /// The Secret, as it is watched.
    pub secrets: Store<Secret>,
    /// The webhook configuration, as it is watched.
    pub configurations: Store<MutatingWebhookConfiguration>,
    /// The mirrors.
    pub stores: Arc<Stores>,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("{0} can't be written")]
    Write(String, #[source] Box<kube::Error>),
    #[error(transparent)]
    Make(#[from] super::MakeError),
}

/// Keeps them until it is dropped.
pub async fn keep(keeper: &Keeper) {
    let mut changes = keeper.stores.changes();
    // The last one that was seen: a Secret that somebody deletes comes back as it was, since it is still served.
    let mut last: Option<Held> = None;
    loop {
        if let Err(error) = keeper.round(&mut last).await {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            tracing::warn!("{error}{}", cause.unwrap_or_default());
        }
        // Whichever comes first; it never ends as long as the stores are there.
        let _ = tokio::time::timeout(ROUND, changes.changed()).await;
    }
}

impl Keeper {
    async fn round(&self, last: &mut Option<Held>) -> Result<(), KeepError> {
        let configuration = self.configurations.state().into_iter().next();
        let mut held = None;
        if !self.given {
            held = self.certificate(configuration.as_deref(), last).await?;
            if held.is_some() {
                last.clone_from(&held);
            }
        }
        let Some(configuration) = configuration else { return Ok(()) };
        let mut namespaces: BTreeSet<String> = self.stores.selecting_namespaces().into_iter().collect();
        namespaces.remove(&self.namespace);
        namespaces.remove("kube-system");
        let authorities = held.as_ref().map(Held::authorities);
        let Some(patch) = difference(&configuration, authorities.as_deref(), &namespaces) else { return Ok(()) };
        let name = configuration.metadata.name.clone().unwrap_or_default();
        let resource = ApiResource::erase::<MutatingWebhookConfiguration>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&patch))
            .await
            .map_err(|source| KeepError::Write(format!("MutatingWebhookConfiguration {name}"), Box::new(source)))?;
        tracing::info!(namespaces = namespaces.len(), "the webhook configuration is written");
        Ok(())
    }

    /// One step of the certificate. Returns what the Secret holds then, if that is known.
    async fn certificate(
        &self,
        configuration: Option<&MutatingWebhookConfiguration>,
        last: &Option<Held>,
    ) -> Result<Option<Held>, KeepError> {
        let secret = self.secrets.state().into_iter().next();
        let found = secret.as_deref().and_then(from_secret);
        let version = secret.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
        if let (None, Some(last)) = (&found, last) {
            tracing::warn!("Secret {} is gone or empty: it is written again", self.secret);
            return self.write(last.clone(), version).await;
        }
        let bundle = configuration.and_then(trusted).unwrap_or_default();
        let is_trusted = found.as_ref().is_some_and(|held| holds_all(&bundle, &held.authorities()));
        let now = Timestamp::now();
        let names: Vec<String> = self.names.iter().cloned().collect();
        let next = match plan(found.as_ref(), &self.names, is_trusted, DAYS, now) {
            Step::Keep => return Ok(found),
            Step::Begin => {
                tracing::info!("a certificate is made for {}", names.join(", "));
                Held { now: make(&names, now, DAYS)?, ..Held::default() }
            }
            Step::Prepare => {
                tracing::info!("the next certificate is made for {}", names.join(", "));
                let next = Some(make(&names, now, DAYS)?);
                Held { next, announced: None, asked: false, ..found.unwrap_or_default() }
            }
            Step::Write(held) => {
                if found.as_ref().is_some_and(|found| found.now != held.now) {
                    tracing::info!("the next certificate is served");
                }
                *held
            }
        };
        self.write(next, version).await
    }

    /// Writes it in place of that version; nothing is returned where another one stands there by now.
    async fn write(&self, held: Held, version: Option<String>) -> Result<Option<Held>, KeepError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let exists = version.is_some();
        let secret = to_secret(&held, &self.secret, version);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match exists {
            true => api.replace(&self.secret, &params, &secret).await,
            false => api.create(&params, &secret).await,
        };
        match written {
            Ok(_) => Ok(Some(held)),
            // What stands there is seen in a moment.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(source) => Err(KeepError::Write(format!("Secret {}", self.secret), Box::new(source))),
        }
    }
}
