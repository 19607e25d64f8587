//! Who is calling, as far as a token says it.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::error::Disconnect;

/// Puts the token of a client into the metadata of each call, if it has one.
#[derive(Clone, Default)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// The token itself is in no error: it is a secret.
    pub(super) fn new(token: Option<&str>) -> Result<Self, Disconnect> {
        let Some(token) = token else { return Ok(Self::default()) };
        let wrong =
            || Disconnect::BadAddress("the token is empty, or not of visible ASCII characters".to_owned());
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>().map_err(|_| wrong())?;
        value.set_sensitive(true);
        is_token.then(|| Self(Some(value))).ok_or_else(wrong)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}
