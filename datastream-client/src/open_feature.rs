//! Feature flags through OpenFeature.

mod details;
mod flags;
mod structure;

use std::sync::Arc;

use async_trait::async_trait;
use datastream::key;
use datastream::value::ValueError;
use open_feature::provider::{FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails};
use open_feature::{EvaluationContext, EvaluationError, EvaluationResult, StructValue};

use crate::cell::{decode, not_ready};
use crate::client::Client;
use crate::snapshot::Held;
use crate::watch::Watch;
use flags::{Flag, Flags, Good};

/// A provider of [OpenFeature](https://openfeature.dev): the settings below a prefix are the flags (feature `open-feature`).
///
/// ```no_run
/// use datastream_client::{Client, OpenFeatureProvider};
/// use open_feature::OpenFeature;
///
/// # async fn flags() {
/// let client = Client::connect("http://127.0.0.1:8080");
/// let mut api = OpenFeature::singleton_mut().await;
/// api.set_provider(OpenFeatureProvider::new(&client, "flags/")).await;
/// let flags = api.create_client();
/// drop(api); // Others may use it now.
///
/// // The setting `flags/new_checkout`, of the type bool.
/// let is_new = flags.get_bool_value("new_checkout", None, None).await.unwrap_or(false);
/// # let _ = is_new;
/// # }
/// ```
///
/// All flags are followed with one request, those that are yet to be born as well. An evaluation reads what is known: there is
/// no IO in it, it waits for nobody, and it is as live as a [`Watch`]. The last good value of a flag, for each type that it is
/// asked for as, stays through bad values and outages, as that of a handle does. A change is decoded once, when it arrives; an
/// evaluation costs the logarithm of the number of flags, and a copy of the value.
///
/// # What a flag is
///
/// | asked for | reads the types | |
/// |---|---|---|
/// | bool | bool | |
/// | int | int | |
/// | float | float, int | an int that a float cannot hold becomes the nearest |
/// | string | string | never a number as text |
/// | struct | json | an object; a member that is null is left out |
///
/// The text of a file, such as `text/plain`, is read as each of them but the last, and as a string it is left as it stands: see
/// [`Value`](crate::Value). A key below a folder, `flags/checkout/limit`, is a flag of its own, `checkout/limit`.
///
/// # What an evaluation says
///
/// | reason | when |
/// |---|---|
/// | `STATIC` | the server is followed and this is the value, or an override, or a fixed client |
/// | `CACHED` | it is from the cache file, or the bootstrap file |
/// | `STALE` | the server is lost; or the newest value cannot be read, and this is the last good one |
///
/// `STALE` is a reason of the specification that the SDK lacks, so it is an [`Other`](open_feature::EvaluationReason::Other).
/// The variant is the revision of the value, as text: hooks for telemetry tell a variant rather than a value. The metadata
/// have `origin` (`live`, `cache`, `bootstrap`, `override`, `fixed`), `value_type`, and if they are known `revision`,
/// `age_seconds`, which is how old it may be at most, and `refused`, why the newest value is not the one that is shown.
///
/// | error | when |
/// |---|---|
/// | `PROVIDER_NOT_READY` | no state has come yet |
/// | `FLAG_NOT_FOUND` | there is no such setting, or no setting can have such a name |
/// | `TYPE_MISMATCH` | it is of another type than was asked for |
/// | `PARSE_ERROR` | it is not in the grammar of its type |
/// | general | it may not be read; the prefix is none; or the client follows as many keys as it may |
///
/// With each of them the application uses its default: the SDK has no argument for one. No message has a value in it.
///
/// | status | [state](crate::State) of the flags |
/// |---|---|
/// | `NotReady` | nothing is known |
/// | `Ready` | the server is followed; a flag that cannot be read concerns no other |
/// | `STALE` | the server is lost, or there is only a file so far: the values stay |
/// | `Error` | the server refuses this client, or the address is none: the values stay, and it is tried again |
///
/// # What there is not
///
/// - The context of an evaluation is ignored: there are no rules and no targeting, and every client has the same value.
/// - The SDK has no events of providers. [`Client::on_status`] tells what would be `PROVIDER_READY`, `PROVIDER_STALE` and
///   `PROVIDER_ERROR`, and [`Watch::on_change`] of a [`watch_prefix`](Client::watch_prefix) of the same client and prefix what
///   would be `PROVIDER_CONFIGURATION_CHANGED`.
/// - A server of the [original](crate::Peer::Original) cannot say that a prefix is whole: with one, it is never ready.
pub struct OpenFeatureProvider {
    metadata: ProviderMetadata,
    client: Client,
    flags: Watch<Flags>,
}

impl OpenFeatureProvider {
    /// A provider whose flags are the settings below `prefix`, of which the `/` at the end may be left out: with `flags/`, the
    /// flag `a` is the setting `flags/a`. Returns at once and never fails: a prefix that is none fails each evaluation.
    ///
    /// It keeps the client connected, for as long as the SDK keeps the provider.
    #[must_use]
    pub fn new(client: &Client, prefix: impl AsRef<str>) -> Self {
        let flags = client.watch_below(prefix.as_ref(), flags::Below);
        Self { metadata: ProviderMetadata::new("datastream"), client: client.clone(), flags }
    }

    /// Reads what is known: no lock, no IO.
    fn resolve<T: Clone>(
        &self,
        name: &str,
        good: fn(&Flag) -> &Good<T>,
        decode: fn(&Held) -> Result<T, ValueError>,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let flags = self.flags.load();
        let Some(flags) = flags.as_ref() else { return Err(self.unavailable()) };
        let key = format!("{}{name}", self.flags.cell.key);
        let Some(flag) = flags.get(&key) else { return Err(self.missing(&key)) };
        let (newest, status) = (&flag.newest, self.flags.status());
        match good(flag) {
            Some((value, held)) => {
                let refused = if Arc::ptr_eq(held, newest) { None } else { decode(newest).err() };
                Ok(details::details(value.clone(), held, refused.as_ref(), &status))
            }
            None => match decode(newest) {
                Ok(value) => Ok(details::details(value, newest, None, &status)),
                Err(why) => Err(details::unusable(&key, &why)),
            },
        }
    }

    /// Why there are no flags at all.
    fn unavailable(&self) -> EvaluationError {
        details::unavailable(
            &self.flags.status().unavailable.unwrap_or_else(|| not_ready(&self.flags.cell.key)),
        )
    }

    /// Why there is no such flag.
    fn missing(&self, key: &str) -> EvaluationError {
        match key::check(key) {
            Err(rule) => details::missing(key, Some(&rule)),
            Ok(()) if self.client.snapshot().denies(key) => details::denied(key),
            Ok(()) => details::missing(key, None),
        }
    }
}

#[async_trait]
impl FeatureProvider for OpenFeatureProvider {
    /// Waits until the flags are known, for at most [`Limits::ready`](crate::Limits::ready). If they are not, the provider is not
    /// ready then, and heals by itself. The SDK lets nobody evaluate meanwhile: an application that has defaults for all of
    /// its flags may want to wait less. Cancel safe.
    async fn initialize(&mut self, _: &EvaluationContext) {
        // What is not ready says so at each evaluation.
        let _ = self.flags.ready().await;
    }

    fn status(&self) -> ProviderStatus {
        details::provider_status(self.flags.status().state)
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.resolve(flag_key, |flag| &flag.boolean, decode)
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.resolve(flag_key, |flag| &flag.int, decode)
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.resolve(flag_key, |flag| &flag.float, decode)
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.resolve(flag_key, |flag| &flag.string, decode)
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.resolve(flag_key, |flag| &flag.structure, structure::decode)
    }
}

impl std::fmt::Debug for OpenFeatureProvider {
    /// Shows the prefix and whether there are flags, and no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFeatureProvider").field("flags", &self.flags).finish_non_exhaustive()
    }
}
