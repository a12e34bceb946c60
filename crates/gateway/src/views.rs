//! What calls see of the world, one view for each way in: the whole catalog, and each virtual server.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::ServerName;

use crate::Settings;
use crate::call::View;
use crate::catalog::Catalog;
use crate::pins::Known;

/// All views, made together, so that all of them are of the same moment.
#[derive(Debug)]
pub(crate) struct Views {
    pub(crate) whole: Arc<View>,
    servers: BTreeMap<ServerName, Arc<View>>,
}

impl Views {
    /// Before anything is known of upstreams.
    pub(crate) fn first(settings: Settings) -> Self {
        Self::made(&Arc::new(settings), &Arc::default(), &[], None)
    }

    /// The views after these. `known` is what the catalog was merged of.
    pub(crate) fn next(
        &self,
        settings: &Arc<Settings>,
        catalog: &Arc<Catalog>,
        known: &[Known],
    ) -> Self {
        Self::made(settings, catalog, known, Some(self))
    }

    fn made(
        settings: &Arc<Settings>,
        catalog: &Arc<Catalog>,
        known: &[Known],
        old: Option<&Self>,
    ) -> Self {
        // What is seen by one way in counts at all of them, so it is noted at all of them.
        let has_flows =
            settings.flows.is_on() || settings.servers.values().any(|server| server.flows.is_on());
        let view = |(name, server)| {
            let old = old.and_then(|old| old.servers.get::<ServerName>(name));
            let old = old.map(|view| &*view.catalog);
            let view = View {
                settings: Arc::clone(settings),
                catalog: Arc::new(Catalog::slice(catalog, known, server, old)),
                server: Some(name.clone()),
                slice: Some(Arc::clone(server)),
                has_flows,
            };
            (name.clone(), Arc::new(view))
        };
        Self {
            servers: settings.servers.iter().map(view).collect(),
            whole: Arc::new(View {
                settings: Arc::clone(settings),
                catalog: Arc::clone(catalog),
                server: None,
                slice: None,
                has_flows,
            }),
        }
    }

    /// The view of one way in; `None`: there is no such server.
    pub(crate) fn of(&self, server: Option<&ServerName>) -> Option<Arc<View>> {
        match server {
            None => Some(Arc::clone(&self.whole)),
            Some(server) => self.servers.get(server).map(Arc::clone),
        }
    }
}
