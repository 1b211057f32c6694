//! A pod as JSON, with the questions that are asked of it. What is missing or of another type counts as not there.

use serde_json::Value;

/// A pod that is only read.
pub struct Pod<'a>(&'a Value);

/// A place where a container mounts a volume.
pub struct Mount<'a> {
    /// The container.
    pub container: &'a Value,
    /// It can't be written through.
    pub read_only: bool,
    /// The container is one of the application's, not an init container.
    pub app: bool,
}

impl<'a> Pod<'a> {
    /// A pod.
    pub fn new(value: &'a Value) -> Self {
        Self(value)
    }

    /// All of it.
    pub fn value(&self) -> &'a Value {
        self.0
    }

    /// A label.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.0["metadata"]["labels"][name].as_str()
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&'a str> {
        self.0["metadata"]["annotations"][name].as_str()
    }

    /// Those who own it.
    pub fn owners(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.0["metadata"]["ownerReferences"])
    }

    /// Its containers.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.0["spec"]["containers"])
    }

    /// Its init containers, native sidecars among them.
    pub fn init_containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.0["spec"]["initContainers"])
    }

    /// Both.
    pub fn all_containers(&self) -> impl Iterator<Item = &'a Value> {
        self.containers().chain(self.init_containers())
    }

    /// Its volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.0["spec"]["volumes"])
    }

    /// One of them.
    pub fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes().find(|volume| volume["name"] == name)
    }

    /// Where a volume is mounted: the application's containers first.
    pub fn mounts(&self, volume: &str) -> Vec<Mount<'a>> {
        let app = self.containers().map(|container| (container, true));
        let init = self.init_containers().map(|container| (container, false));
        let mut mounts = Vec::new();
        for (container, app) in app.chain(init) {
            for mount in list(&container["volumeMounts"]).filter(|mount| mount["name"] == volume) {
                mounts.push(Mount { container, read_only: mount["readOnly"] == true, app });
            }
        }
        mounts
    }

    /// True when a container uses the volume as a block device.
    pub fn is_device(&self, volume: &str) -> bool {
        self.all_containers().any(|container| list(&container["volumeDevices"]).any(|device| device["name"] == volume))
    }

    /// The pod's own security context.
    pub fn security_context(&self) -> &'a Value {
        &self.0["spec"]["securityContext"]
    }

    /// The group that its volumes are given to.
    pub fn fs_group(&self) -> Option<i64> {
        self.security_context()["fsGroup"].as_i64()
    }

    /// It shares the network of its node.
    pub fn host_network(&self) -> bool {
        self.0["spec"]["hostNetwork"] == true
    }
}

/// The entries of a list; none where there is no list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
