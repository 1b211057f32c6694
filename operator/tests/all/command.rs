//! `gosync-operator inject`, as a person runs it.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: trainer-0, namespace: ml, labels: {app: trainer}}
spec:
  containers: [{name: app, image: example/app, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {}}]
";

const MIRROR: &str = "\
apiVersion: gosync.dev/v1alpha1
kind: SyncMirror
metadata: {name: models, namespace: ml}
spec:
  selector: {matchLabels: {app: trainer}}
  volume: {name: data}
  s3: {bucket: acme-ml, prefix: models/}
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("gosync-operator").unwrap();
        command.current_dir(self.0.path()).arg("inject").args(arguments).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_pod_is_printed_with_its_agent() {
    let files = Files::new(&[("pod.yaml", POD), ("mirror.yaml", MIRROR)]);
    let output = files.run(&["-f", "pod.yaml", "--mirror", "mirror.yaml"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let pod: serde_json::Value = serde_saphyr::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "gosync-agent");
    assert_eq!(pod["spec"]["containers"][0]["image"], "example/app");
    // What was printed can be given again, and stays as it is.
    fs::write(files.path("pod.yaml"), &output.stdout).unwrap();
    let again = files.run(&["-f", "pod.yaml", "--mirror", "mirror.yaml"]);
    assert_eq!((text(&again.stdout), text(&again.stderr)), (text(&output.stdout), String::new()));
}

#[test]
fn the_pod_may_come_from_standard_input_and_the_patch_be_all_that_is_printed() {
    let files = Files::new(&[("mirror.yaml", MIRROR)]);
    let mut command = Command::cargo_bin("gosync-operator").unwrap();
    command.current_dir(files.0.path()).args(["inject", "-f", "-", "--mirror", "mirror.yaml", "--output", "patch"]);
    let output = command.write_stdin(POD).output().unwrap();
    let patch: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(patch.iter().all(|operation| operation["op"] == "add"), "{patch:?}");
    assert!(!patch.is_empty());
}

#[test]
fn several_mirrors_are_one_agent() {
    let second = MIRROR.replace("models", "results").replace("{name: data}", "{name: out}");
    let pod = POD.replace("volumes: [", "volumes: [{name: out, emptyDir: {}}, ");
    let both = format!("{MIRROR}---\n{second}");
    let files = Files::new(&[("pod.yaml", &pod), ("one.yaml", MIRROR), ("two.yaml", &second), ("both.yaml", &both)]);
    let apart = files.run(&["-f", "pod.yaml", "--mirror", "one.yaml", "--mirror", "two.yaml"]);
    let together = files.run(&["-f", "pod.yaml", "--mirror", "both.yaml"]);
    assert_eq!(text(&apart.stdout), text(&together.stdout));
    assert!(text(&apart.stdout).contains("models,results"), "{}", text(&apart.stdout));
    assert!(text(&apart.stderr).contains("warning: no container mounts volume out"), "{}", text(&apart.stderr));
}

#[test]
fn a_pod_that_gets_no_agent_is_printed_as_it_is_with_the_reason() {
    let without = POD
        .replace("{name: data, emptyDir", "{name: other, emptyDir")
        .replace("{name: data, mountPath", "{name: other, mountPath");
    let stranger = POD.replace("app: trainer", "app: web");
    let files = Files::new(&[("without.yaml", &without), ("stranger.yaml", &stranger), ("mirror.yaml", MIRROR)]);
    for (pod, reason) in [
        ("without.yaml", "has no volume data, which SyncMirror models names"),
        ("stranger.yaml", "no SyncMirror selects the pod"),
    ] {
        let output = files.run(&["-f", pod, "--mirror", "mirror.yaml"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("gosync-agent"));
    }
}

#[test]
fn wrong_input_is_named_by_file_and_field_all_at_once() {
    let mirror = MIRROR.replace("prefix: models/", "prefix: /models").replace("{name: data}", "{nam: data}");
    let pod = POD.replace("[{name: app, image", "[{image");
    let files = Files::new(&[("pod.yaml", &pod), ("mirror.yaml", &mirror)]);
    let output = files.run(&["-f", "pod.yaml", "--mirror", "mirror.yaml"]);
    let errors = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    for expected in [
        "error: pod.yaml: spec.containers[0].name: it is required",
        "error: mirror.yaml: spec.volume.name: it is required",
        "error: mirror.yaml: spec.volume.nam: there is no such field",
    ] {
        assert!(errors.contains(expected), "{expected}: {errors}");
    }
}

#[test]
fn a_rule_that_is_broken_is_told_in_its_own_words() {
    let files =
        Files::new(&[("pod.yaml", POD), ("mirror.yaml", &MIRROR.replace("prefix: models/", "prefix: /models"))]);
    let output = files.run(&["-f", "pod.yaml", "--mirror", "mirror.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "error: mirror.yaml: spec.s3.prefix: prefix has to begin without /, such as models/\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn files_that_are_none_of_the_expected_are_told() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\n";
    let files = Files::new(&[
        ("deployment.yaml", deployment),
        ("broken.yaml", "a: [b"),
        ("empty.yaml", ""),
        ("mirror.yaml", MIRROR),
        ("pod.yaml", POD),
    ]);
    for (pod, mirror, expected) in [
        ("deployment.yaml", "mirror.yaml", "deployment.yaml: kind: Pod belongs here, not Deployment"),
        ("broken.yaml", "mirror.yaml", "broken.yaml: it is no YAML: "),
        ("gone.yaml", "mirror.yaml", "gone.yaml: can't be read: "),
        ("pod.yaml", "empty.yaml", "empty.yaml: it holds no SyncMirror"),
        ("pod.yaml", "pod.yaml", "pod.yaml: apiVersion: gosync.dev/v1alpha1 belongs here, not v1"),
    ] {
        let output = files.run(&["-f", pod, "--mirror", mirror]);
        assert_eq!(output.status.code(), Some(2), "{pod} {mirror}");
        assert!(text(&output.stderr).contains(expected), "{expected}: {}", text(&output.stderr));
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let files = Files::new(&[]);
    assert_eq!(files.run(&["-f", "pod.yaml"]).status.code(), Some(2));
}
