//! The dev store in this process, with its data in a folder that goes with it.

use gosync_dev_s3::{Counters, DevS3, Faults, Options, Running};

use crate::process::Folder;
use crate::server::Address;
use crate::stranger::Stranger;

pub struct DevStore {
    // Before the folder: fields are dropped in this order.
    running: Running,
    options: Options,
    pub folder: Folder,
    pub address: Address,
}

impl DevStore {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With options other than the defaults.
    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = Folder::new("dev-s3");
        let mut options = Options::new(folder.path().join("data"));
        change(&mut options);
        Self::run(folder, options).await
    }

    /// Ends it and starts it again on the same port and data, with other options.
    pub async fn restart_with(self, change: impl FnOnce(&mut Options)) -> Self {
        let Self { running, mut options, folder, .. } = self;
        options.listen = running.addr();
        running.shutdown().await;
        change(&mut options);
        Self::run(folder, options).await
    }

    async fn run(folder: Folder, options: Options) -> Self {
        let running = DevS3::start(options.clone()).await.unwrap();
        let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
        let address = Address { endpoint: running.url(), access_key, secret_key };
        Self { running, options, folder, address }
    }

    pub fn faults(&self) -> Faults {
        self.running.faults()
    }

    pub fn counters(&self) -> Counters {
        self.running.counters()
    }

    pub async fn bucket(&self, name: &str) -> Stranger {
        let stranger = Stranger::new(&self.address, name);
        stranger.create_bucket().await;
        stranger
    }
}
