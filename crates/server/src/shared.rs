//! The shared state that the config names: Redis over a connection of `net`'s, or memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use net::Service;
use store::shared::{Carrier, Dial, Later, Memory, Redis, RedisSettings, Shared};

/// Where a Redis is, and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub service: Service,
    /// With whom the connection is encrypted, if not with whomever the operating system trusts.
    pub tls: Option<net::Tls>,
    /// As whom, and what happens without it.
    pub redis: RedisSettings,
}

/// The state that the config names.
pub(crate) fn open(settings: Option<&Settings>, client: &net::Client) -> Arc<dyn Shared> {
    let Some(settings) = settings else {
        return Arc::new(Memory::new());
    };
    let dialer = Dialer {
        client: match &settings.tls {
            Some(tls) => client.with_tls(tls.clone()),
            None => client.clone(),
        },
        service: settings.service.clone(),
    };
    Arc::new(Redis::new(Arc::new(dialer), settings.redis.clone()))
}

struct Dialer {
    client: net::Client,
    service: Service,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Dial for Dialer {
    fn dial(&self) -> Later<'_, io::Result<Box<dyn Carrier>>> {
        Box::pin(async {
            let stream = self.client.connect(&self.service).await;
            let stream = stream.map_err(io::Error::other)?;
            Ok(Box::new(stream) as Box<dyn Carrier>)
        })
    }
}
