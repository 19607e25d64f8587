//! A bucket in memory, with manners, and with faults that tests ask for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, Metadata, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob,
};
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

/// How many keys a page has.
const PAGE: usize = 1000;

/// How a bucket behaves.
pub(crate) struct Manners {
    pub(crate) keeps_conditions: bool,
    pub(crate) keeps_those_of_deletes: bool,
    pub(crate) lists_e_tags: bool,
    /// Whether its clock is another.
    pub(crate) is_skewed: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { keeps_conditions: true, keeps_those_of_deletes: true, lists_e_tags: true, is_skewed: false }
    }
}

/// What can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    List,
    Get,
    Put,
    Delete,
}

/// What happens instead of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This error, and nothing is done.
    Error(&'static str),
    /// It is done, and then nobody hears of it.
    Lost,
    /// It is done so much later, and the answer is an error at once.
    Later(Duration),
    /// No answer, and nothing is done.
    Silence,
    /// A page that says that there are more, and not where.
    HalfPage,
    /// So late, and then all is as usual.
    Late(Duration),
}

struct Rule {
    asked: Asked,
    skip: usize,
    times: usize,
    fault: Fault,
}

#[derive(Clone)]
struct Held {
    body: Bytes,
    modified: SystemTime,
    metadata: Option<Metadata>,
    content_type: Option<String>,
}

impl Held {
    /// Of the content alone, as an MD5 is.
    fn e_tag(&self) -> ETag {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        ETag::Strong(format!("{:016x}{:016x}", hasher.finish(), self.body.len()))
    }
}

/// The bucket.
pub(crate) struct Bucket {
    manners: Manners,
    objects: Mutex<BTreeMap<String, Held>>,
    rules: Mutex<Vec<Rule>>,
    asked: [AtomicUsize; 4],
    /// How many reads are under way, and were at most.
    reading: AtomicUsize,
    most_reading: AtomicUsize,
}

impl Bucket {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            manners,
            objects: Mutex::default(),
            rules: Mutex::default(),
            asked: Default::default(),
            reading: AtomicUsize::new(0),
            most_reading: AtomicUsize::new(0),
        }
    }

    /// From the one after `skip` on, so many of these requests fail so.
    pub(crate) fn fail(&self, asked: Asked, skip: usize, times: usize, fault: Fault) {
        lock(&self.rules).push(Rule { asked, skip, times, fault });
    }

    /// All requests are answered again.
    pub(crate) fn heal(&self) {
        lock(&self.rules).clear();
    }

    /// How often that was asked.
    pub(crate) fn count(&self, asked: Asked) -> usize {
        self.asked[asked as usize].load(Ordering::Relaxed)
    }

    /// How many reads were under way at once.
    pub(crate) fn most_reading(&self) -> usize {
        self.most_reading.load(Ordering::Relaxed)
    }

    /// Writes an object as nobody can over S3: with any key, and any number of bytes.
    pub(crate) fn plant(&self, key: &str, body: impl Into<Bytes>) {
        let held =
            Held { body: body.into(), modified: SystemTime::now(), metadata: None, content_type: None };
        lock(&self.objects).insert(key.to_owned(), held);
    }

    /// Has all that is there be written a minute ago, so that a list says for sure whether it is another since.
    pub(crate) fn settle(&self) {
        for held in lock(&self.objects).values_mut() {
            held.modified = SystemTime::now() - Duration::from_secs(60);
        }
    }

    /// Gives an object another type within the second in which it was written, and leaves what it holds.
    pub(crate) fn retype(&self, key: &str, value_type: &str) {
        let mut objects = lock(&self.objects);
        let held = objects.get_mut(key).expect("it is there");
        held.metadata = Some(Metadata::from_iter([("datastream-type".to_owned(), value_type.to_owned())]));
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        lock(&self.objects).keys().cloned().collect()
    }

    fn fault(&self, asked: Asked) -> Option<Fault> {
        self.asked[asked as usize].fetch_add(1, Ordering::Relaxed);
        let mut rules = lock(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.asked == asked && (rule.skip > 0 || rule.times > 0))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault)
    }

    /// What a request meets before anything is done for it.
    async fn meet(&self, asked: Asked) -> S3Result<Option<Fault>> {
        let fault = self.fault(asked);
        match fault {
            Some(Fault::Error(code)) => {
                Err(S3Error::new(S3ErrorCode::from_bytes(code.as_bytes()).expect("a code")))
            }
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Late(by)) => {
                tokio::time::sleep(by).await;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }

    /// Compares and writes in one step.
    fn write(
        &self,
        key: String,
        held: Held,
        none: Option<&ETagCondition>,
        some: Option<&ETagCondition>,
    ) -> S3Result<ETag> {
        let mut objects = lock(&self.objects);
        let there = objects.get(&key).map(Held::e_tag);
        if self.manners.keeps_conditions {
            if none.is_some() && there.is_some() {
                return Err(s3_error!(PreconditionFailed));
            }
            if some.is_some() && there.is_none() {
                return Err(s3_error!(NoSuchKey));
            }
            check(some, there.as_ref())?;
        }
        let e_tag = held.e_tag();
        objects.insert(key, held);
        Ok(e_tag)
    }
}

/// That a condition names what is there.
fn check(some: Option<&ETagCondition>, there: Option<&ETag>) -> S3Result<()> {
    match some {
        Some(ETagCondition::ETag(e_tag)) if Some(e_tag) != there => Err(s3_error!(PreconditionFailed)),
        _ => Ok(()),
    }
}

fn answer<T>(fault: Option<Fault>, output: T) -> S3Result<S3Response<T>> {
    match fault {
        Some(Fault::Lost) => Err(s3_error!(InternalError)),
        _ => Ok(S3Response::new(output)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What answers for the bucket.
pub(super) struct Front(pub(super) Arc<Bucket>);

#[async_trait::async_trait]
impl S3 for Front {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let fault = self.0.meet(Asked::List).await?;
        if input.bucket != super::BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let prefix = input.prefix.unwrap_or_default();
        let from = input.continuation_token.clone().map_or(Bound::Included(prefix.clone()), Bound::Excluded);
        let objects = lock(&self.0.objects);
        let below = objects.range((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&prefix));
        let found: Vec<_> = below.take(PAGE + 1).collect();
        let page = &found[..found.len().min(PAGE)];
        let next = (found.len() > PAGE).then(|| page[PAGE - 1].0.clone());
        let is_half = matches!(fault, Some(Fault::HalfPage));
        let contents = page.iter().map(|(key, held)| Object {
            key: Some((*key).clone()),
            e_tag: self.0.manners.lists_e_tags.then(|| held.e_tag()),
            size: Some(held.body.len().try_into().expect("it is not that large")),
            last_modified: Some(held.modified.into()),
            ..Object::default()
        });
        answer(
            fault,
            ListObjectsV2Output {
                contents: Some(contents.collect()),
                is_truncated: Some(is_half || next.is_some()),
                next_continuation_token: next.filter(|_| !is_half),
                ..ListObjectsV2Output::default()
            },
        )
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let reading = self.0.reading.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most_reading.fetch_max(reading, Ordering::Relaxed);
        let met = self.0.meet(Asked::Get).await;
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
        let fault = met?;
        let held =
            lock(&self.0.objects).get(&request.input.key).cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        if let Some(ETagCondition::ETag(e_tag)) = &request.input.if_none_match
            && *e_tag == held.e_tag()
        {
            return Err(s3_error!(NotModified));
        }
        answer(
            fault,
            GetObjectOutput {
                e_tag: Some(held.e_tag()),
                content_length: Some(held.body.len().try_into().expect("it is not that large")),
                last_modified: Some(held.modified.into()),
                metadata: held.metadata,
                content_type: held.content_type,
                body: Some(StreamingBlob::from(Body::from(held.body))),
                ..GetObjectOutput::default()
            },
        )
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let mut body = BytesMut::new();
        if let Some(mut parts) = input.body {
            while let Some(part) = parts.next().await {
                body.extend_from_slice(&part.map_err(|_| s3_error!(IncompleteBody))?);
            }
        }
        let fault = self.0.meet(Asked::Put).await?;
        let (metadata, content_type) = (input.metadata, input.content_type);
        let held = Held { body: body.freeze(), modified: SystemTime::now(), metadata, content_type };
        let (none, some) = (input.if_none_match, input.if_match);
        if let Some(Fault::Later(by)) = fault {
            let bucket = self.0.clone();
            tokio::spawn(async move {
                tokio::time::sleep(by).await;
                let _ = bucket.write(input.key, held, none.as_ref(), some.as_ref());
            });
            return Err(s3_error!(InternalError));
        }
        let e_tag = self.0.write(input.key, held, none.as_ref(), some.as_ref())?;
        answer(fault, PutObjectOutput { e_tag: Some(e_tag), ..PutObjectOutput::default() })
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let fault = self.0.meet(Asked::Delete).await?;
        let mut objects = lock(&self.0.objects);
        if self.0.manners.keeps_conditions && self.0.manners.keeps_those_of_deletes {
            let there = objects.get(&request.input.key).map(Held::e_tag);
            check(request.input.if_match.as_ref(), there.as_ref())?;
        }
        objects.remove(&request.input.key);
        answer(fault, DeleteObjectOutput::default())
    }
}
