//! The metadata in a real Postgres: the suite of its port, opening and upgrading, what its errors say, leases, news, TLS, and
//! PgBouncer in between.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use gosync_engine::ports::metadata::{Changes, FilesQuery};
use gosync_engine::ports::state::{StateError, StateErrorKind};
use gosync_engine::ports::{MetadataStore as _, metadata_conformance};
use gosync_metadata::{PostgresMetadata, PostgresOptions};
use gosync_tests::feed::put;
use gosync_tests::pgbouncer::PgBouncer;
use gosync_tests::postgres::{PASSWORD, Postgres, USER};
use gosync_tests::process::Folder;
use gosync_tests::wait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::migrate::Migrator;
use sqlx::{Row as _, query, query_scalar};

/// Everything that an error says.
fn chain(error: &StateError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(" | {cause} {cause:?}");
        next = cause.source();
    }
    text
}

async fn refused(options: PostgresOptions) -> StateError {
    PostgresMetadata::open(options).await.err().expect("it is refused")
}

#[tokio::test]
async fn metadata_in_postgres_conforms() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    for max_connections in [2, 25] {
        let metadata =
            PostgresMetadata::open(PostgresOptions { max_connections, ..database.settings() }).await.unwrap();
        metadata_conformance::conforms(&metadata).await.unwrap();
        metadata.close().await;
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
}

#[tokio::test]
async fn metadata_in_postgres_conforms_behind_pgbouncer_that_gives_each_transaction_another_connection() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let bouncer = PgBouncer::start(&database, 3).await;
    let settings = PostgresOptions { max_connections: 8, ..database.settings_at(bouncer.port) };
    let metadata = PostgresMetadata::open(settings.clone()).await.unwrap();
    metadata_conformance::conforms(&metadata).await.unwrap();

    // More clients than connections, all at once, and each reads what it asked for.
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    let agents = join_all((0..6).map(|_| PostgresMetadata::open(settings.clone()))).await;
    join_all(agents.into_iter().enumerate().map(|(number, agent)| async move {
        let agent = agent.unwrap();
        join_all((0..6).map(async |task| {
            for round in 0..10 {
                let key = format!("{number}/{task}/{round}");
                agent.record(store, "client", vec![put(&key, &key)]).await.unwrap();
                assert_eq!(agent.file_by_key(store, &key).await.unwrap().unwrap().etag, key);
                let below = FilesQuery { store, prefix: key.clone(), limit: 5, ..FilesQuery::default() };
                assert_eq!(agent.files(below).await.unwrap().len(), 1);
            }
        }))
        .await;
    }))
    .await;
    assert_eq!(metadata.store("endpoint", "bucket").await.unwrap().head_seq, 360);
}

#[tokio::test]
async fn nothing_stays_with_a_connection_that_another_client_may_get() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    // One connection behind it: what an agent leaves there, the next one finds.
    let bouncer = PgBouncer::start(&database, 1).await;
    for _ in 0..2 {
        let metadata = PostgresMetadata::open(database.settings_at(bouncer.port)).await.unwrap();
        metadata_conformance::conforms(&metadata).await.unwrap();
        let mut other = database.connect_at(bouncer.port).await;
        let left = "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('lock_timeout'), \
                           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')";
        let left = sqlx::raw_sql(left).fetch_one(&mut other).await.unwrap();
        let left: (i64, String, i64) = (left.get(0), left.get(1), left.get(2));
        assert_eq!(left, (0, "0".into(), 0), "statements, time limits, locks");
        metadata.close().await;
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
}

#[tokio::test]
async fn many_agents_may_start_on_an_empty_database_at_once() {
    let server = Postgres::shared().await;
    for behind_pgbouncer in [false, true] {
        let database = server.database().await;
        let bouncer = PgBouncer::start(&database, 4).await;
        let port = if behind_pgbouncer { bouncer.port } else { database.port };
        let agents = join_all((0..20).map(|_| PostgresMetadata::open(database.settings_at(port)))).await;
        let stores = join_all(
            agents
                .iter()
                .map(async |agent| agent.as_ref().map_err(chain).unwrap().store("endpoint", "bucket").await.unwrap()),
        )
        .await;
        assert!(stores.iter().all(|store| *store == stores[0]), "{stores:?}");
        let mut connection = database.connect().await;
        let migrations: i64 =
            query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut connection).await.unwrap();
        assert_eq!(migrations, known_migrations().await.iter().count() as i64);
    }
}

async fn known_migrations() -> Migrator {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/metadata/migrations/postgres");
    Migrator::new(Path::new(folder)).await.unwrap()
}

#[tokio::test]
async fn tables_of_each_earlier_schema_are_brought_up_to_date_with_what_is_in_them() {
    let server = Postgres::shared().await;
    let newest = known_migrations().await.iter().map(|migration| migration.version).max().unwrap();
    assert!(newest > 1);
    for version in 1..newest {
        let database = server.database().await;
        let mut old = database.connect().await;
        known_migrations().await.run_to(version, &mut old).await.unwrap();
        database
            .execute(
                "INSERT INTO stores (id, endpoint, bucket, epoch, head_seq) VALUES (7, 'endpoint', 'bucket', 'e', 1); \
                 INSERT INTO files (id, store_id, s3_key, size, created_time, etag, is_directory, version, is_deleted, seq, updated_by) \
                 VALUES (nextval('file_ids'), 7, 'old', 3, 0, 'e1', false, 1, false, 1, 'c'); \
                 INSERT INTO file_changes (store_id, seq, file_id, s3_key, change_type, changed_at, client_id, etag, size) \
                 VALUES (7, 1, 1, 'old', 'CREATE', 0, 'c', 'e1', 3); \
                 INSERT INTO sync_states (client_id, store_id, prefix, epoch, device_name, platform, agent_version, status) \
                 VALUES ('c', 7, '', 'e', 'd', 'p', 'v', 'active')",
            )
            .await;
        if version > 1 {
            // Agents of that release said when they were seen.
            let seen = "UPDATE sync_states SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            database.execute(seen).await;
        }
        let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
        assert_eq!(metadata.store("endpoint", "bucket").await.unwrap().id, 7);
        assert_eq!(metadata.file_by_key(7, "old").await.unwrap().unwrap().size, 3);
        assert_eq!(metadata.record(7, "c", vec![put("new", "e")]).await.unwrap().head, 2);
        // It was there when the agents learned to tell who is silent.
        assert_eq!(metadata.prune_below_cursors(7, 3_600_000).await.unwrap().clients, 0);
        metadata_conformance::conforms(&metadata).await.unwrap();
    }
}

#[tokio::test]
async fn tables_of_a_newer_agent_are_refused_and_left_as_they_are() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    PostgresMetadata::open(database.settings()).await.unwrap().close().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9000, 'later', true, 'x', 0)",
        )
        .await;
    let error = refused(database.settings()).await;
    assert_eq!(error.kind, StateErrorKind::Newer, "{}", chain(&error));
    assert!(error.to_string().contains("start the newer agent"), "{error}");
    let mut connection = database.connect().await;
    let migrations: i64 =
        query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection).await.unwrap();
    assert_eq!(migrations, 9000);
}

#[tokio::test]
async fn tables_that_are_not_ours_are_refused() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    database.execute("CREATE TABLE files (name text)").await;
    assert_eq!(refused(database.settings()).await.kind, StateErrorKind::Corrupt);
}

#[tokio::test]
async fn a_user_who_may_not_change_tables_can_work_with_those_that_are_up_to_date() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    PostgresMetadata::open(database.settings()).await.unwrap().close().await;
    let user = format!("limited_{}", database.name);
    database
        .execute(&format!(
            "CREATE ROLE {user} LOGIN PASSWORD 'limited'; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
        ))
        .await;
    let settings = PostgresOptions { user, password: "limited".into(), ..database.settings() };
    metadata_conformance::conforms(&PostgresMetadata::open(settings).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_had_is_told_at_once_by_its_place_and_never_with_the_password() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let good = database.settings();
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let url = |rest: &str| format!("postgres://{USER}:{PASSWORD}@{rest}");
    let missing = Some(PathBuf::from("/nowhere/ca.pem"));
    let cases = [
        ("a wrong password", PostgresOptions { password: format!("{PASSWORD}x"), ..good.clone() }, "127.0.0.1"),
        ("nobody listens", PostgresOptions { port: nobody, ..good.clone() }, "efused"),
        ("no such database", PostgresOptions { database: "other".into(), ..good.clone() }, "other"),
        ("no such user", PostgresOptions { user: "other".into(), ..good.clone() }, "other"),
        ("no TLS there", PostgresOptions { sslmode: "require".into(), ..good.clone() }, "TLS"),
        ("no such mode", PostgresOptions { sslmode: "always".into(), ..good.clone() }, "sslmode"),
        (
            "no certificates",
            PostgresOptions { sslmode: "verify-full".into(), sslrootcert: missing, ..good.clone() },
            "/nowhere",
        ),
        ("no such host", PostgresOptions { host: "nowhere.invalid".into(), ..good.clone() }, "nowhere.invalid"),
        ("a URL to nobody", PostgresOptions { url: url(&format!("127.0.0.1:{nobody}/x")), ..good.clone() }, "efused"),
        ("an odd port", PostgresOptions { url: url("127.0.0.1:x/x"), ..good.clone() }, "the url"),
        ("another scheme", PostgresOptions { url: format!("http://{PASSWORD}@host/x"), ..good.clone() }, "postgres://"),
        (
            "an unknown key",
            PostgresOptions { url: url(&format!("h/x?passwort={PASSWORD}")), ..good.clone() },
            "passwort",
        ),
        ("an odd mode", PostgresOptions { url: url("h/x?sslmode=sometimes"), ..good.clone() }, "the url"),
    ];
    for (what, options, wanted) in cases {
        assert!(!format!("{options:?}").contains(PASSWORD));
        let error = refused(options).await;
        let text = chain(&error);
        assert_eq!(error.kind, StateErrorKind::Unavailable, "{what}: {text}");
        assert!(text.contains(wanted), "{what}: {text}");
        assert!(!text.contains(PASSWORD), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_url_says_everything_in_one() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    for (url, password) in [
        (format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{}", database.port, database.name), ""),
        (format!("postgresql://{USER}@127.0.0.1:{}/{}?sslmode=prefer", database.port, database.name), PASSWORD),
    ] {
        let options = PostgresOptions { url, password: password.into(), ..PostgresOptions::default() };
        PostgresMetadata::open(options).await.map_err(|error| chain(&error)).unwrap();
    }
}

#[tokio::test]
async fn a_server_out_of_connections_is_unavailable_until_it_has_some() {
    let server = Postgres::start(&["max_connections=5", "superuser_reserved_connections=1"]).await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let user = "CREATE ROLE agent LOGIN PASSWORD 'agent' IN ROLE pg_read_all_data, pg_write_all_data";
    database.execute(user).await;
    let settings = PostgresOptions { user: "agent".into(), password: "agent".into(), ..database.settings() };
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(database.connect().await);
    }
    let error = refused(settings.clone()).await;
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
    drop(taken);
    wait::until("there are connections again", async || {
        PostgresMetadata::open(settings.clone()).await.map(drop).map_err(|error| chain(&error))
    })
    .await;
    metadata.store("endpoint", "bucket").await.unwrap();
}

#[tokio::test]
async fn agents_go_on_by_themselves_after_the_server_was_gone() {
    let mut server = Postgres::start(&[]).await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    for round in 0..2 {
        metadata.record(store, "client", vec![put(format!("before {round}"), "e")]).await.unwrap();
        if round == 0 {
            server.kill()
        } else {
            server.stop().await
        }
        let error = metadata.record(store, "client", vec![put("never", "e")]).await.unwrap_err();
        assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
        assert!(refused(database.settings()).await.kind == StateErrorKind::Unavailable);
        server.restart().await;
        // The first call after it: connections that died with the server are no concern of its caller.
        metadata.record(store, "client", vec![put(format!("after {round}"), "e")]).await.unwrap();
    }
    let Changes::Next { rows, .. } = metadata.changes_since(store, None, 10).await.unwrap() else { panic!("lost") };
    let keys: Vec<_> = rows.iter().map(|row| row.s3_key.as_str()).collect();
    assert_eq!(keys, ["before 0", "after 0", "before 1", "after 1"]);
}

#[tokio::test]
async fn a_lock_that_is_not_had_in_time_is_unavailable_and_nothing_of_the_batch_is_there() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    let mut holder = database.connect().await;
    let mut held = sqlx::Connection::begin(&mut holder).await.unwrap();
    query("UPDATE stores SET head_seq = head_seq").execute(&mut *held).await.unwrap();
    let error = metadata.record(store, "client", vec![put("a/b", "e")]).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
    assert!(chain(&error).contains("lock timeout"), "{}", chain(&error));
    assert_eq!(metadata.totals(store, "").await.unwrap(), (0, 0), "readers wait for nobody");
    held.rollback().await.unwrap();
    assert_eq!(metadata.record(store, "client", vec![put("a/b", "e")]).await.unwrap().head, 1);
}

#[tokio::test]
async fn leases_run_by_the_clock_of_the_server() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let first = metadata.lease("lister", "a", 3_600_000).await.unwrap().unwrap();
    assert_eq!(metadata.lease("lister", "b", 3_600_000).await.unwrap(), None);
    // An hour passes there, and nowhere else.
    database.execute("UPDATE leases SET expires_at = expires_at - 3600001").await;
    assert_eq!(metadata.lease("lister", "b", 3_600_000).await.unwrap(), Some(first + 1));
    assert_eq!(metadata.lease("lister", "a", 3_600_000).await.unwrap(), None);
}

#[tokio::test]
async fn tables_that_were_made_anew_lose_all_cursors_and_take_no_news_of_the_old_ones() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let old = metadata.store("endpoint", "bucket").await.unwrap();
    metadata.record(old.id, "client", vec![put("a", "e")]).await.unwrap();
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let anew = PostgresMetadata::open(database.settings()).await.unwrap();
    anew.store("endpoint", "another bucket").await.unwrap();
    let new = anew.store("endpoint", "bucket").await.unwrap();
    assert!(new.epoch != old.epoch && new.id != old.id);

    assert_eq!(metadata.changes_since(old.id, None, 10).await.unwrap(), Changes::CursorLost);
    let error = metadata.record(old.id, "client", vec![put("b", "e")]).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
    assert_eq!(metadata.store("endpoint", "bucket").await.unwrap(), new);
    assert_eq!(metadata.record(new.id, "client", vec![put("b", "e")]).await.unwrap().head, 1);
}

#[tokio::test]
async fn tables_that_are_gone_are_made_by_who_comes_next() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let old = metadata.store("endpoint", "bucket").await.unwrap();
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let error = metadata.store("endpoint", "bucket").await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
    let new = metadata.store("endpoint", "bucket").await.unwrap();
    assert!(new.epoch != old.epoch && new.id != old.id);
}

#[tokio::test]
async fn settings_are_looked_at_without_the_server_and_whatever_is_called_first_connects() {
    let mut server = Postgres::start(&[]).await;
    let database = server.database().await;
    server.kill();
    assert!(PostgresMetadata::new(&PostgresOptions { sslmode: "always".into(), ..database.settings() }).is_err());
    let metadata = PostgresMetadata::new(&database.settings()).unwrap();
    let error = metadata.store("endpoint", "bucket").await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{}", chain(&error));
    server.restart().await;
    metadata.store("endpoint", "bucket").await.unwrap();
}

#[tokio::test]
async fn a_listener_is_told_of_commits_of_others_and_after_each_pause_that_it_may_have_missed_some() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let listening = PostgresMetadata::open(database.settings()).await.unwrap();
    let mut hints = listening.listen();
    assert_eq!(hints.recv().await.unwrap(), None, "it begins to listen");
    let writing = PostgresMetadata::open(PostgresOptions { announce: true, ..database.settings() }).await.unwrap();
    let store = writing.store("endpoint", "bucket").await.unwrap();
    let told = async |hints: &mut tokio::sync::broadcast::Receiver<Option<String>>, key: &str| {
        writing.record(store.id, "client", vec![put(key, "e")]).await.unwrap();
        hints.recv().await.unwrap()
    };
    assert_eq!(told(&mut hints, "a").await, Some(store.epoch.clone()));
    assert_eq!(told(&mut hints, "b").await, Some(store.epoch.clone()));

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(end).await;
    assert_eq!(hints.recv().await.unwrap(), None, "it listens again");
    assert_eq!(told(&mut hints, "c").await, Some(store.epoch.clone()));

    // What writes nothing is no news; nor is anything sent for each row.
    writing.record(store.id, "client", vec![put("c", "e")]).await.unwrap();
    let many = (0..500).map(|number| put(format!("many {number}"), "e")).collect();
    writing.record(store.id, "client", many).await.unwrap();
    assert_eq!(hints.recv().await.unwrap(), Some(store.epoch.clone()));
    assert!(hints.try_recv().is_err(), "one message for all of it");
    listening.close().await;
    wait::until("no connection is left listening", async || {
        let mut connection = database.connect().await;
        let left: i64 = query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        wait::hold(left == 0, format!("{left} are"))
    })
    .await;
}

#[tokio::test]
async fn no_more_connections_are_used_than_allowed_and_idle_ones_are_given_back() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(PostgresOptions { max_connections: 3, ..database.settings() }).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    let mut watcher = database.connect().await;
    let count = "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'gosync'";
    let work = join_all((0..30).map(|number| metadata.record(store, "client", vec![put(number.to_string(), "e")])));
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                assert!(done.iter().all(Result::is_ok));
                break;
            }
            used = query_scalar::<_, i64>(count).fetch_one(&mut watcher) => assert!(used.unwrap() <= 3),
        }
    }
    wait::until("idle connections are closed", async || {
        let left: i64 = query_scalar(count).fetch_one(&mut watcher).await.unwrap();
        wait::hold(left == 0, format!("{left} are left"))
    })
    .await;
}

/// A CA, and a certificate of `name` by it: paths to both and to its key.
fn certificates(folder: &Folder, name: &str) -> [PathBuf; 3] {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [("ca.pem", ca_certificate.pem()), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())].map(
        |(file, text)| {
            let path = folder.path().join(file);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            path
        },
    )
}

#[tokio::test]
async fn tls_is_as_strict_as_asked_for() {
    let folder = Folder::new("certificates");
    let [ca, certificate, key] = certificates(&folder, "localhost");
    let other = Folder::new("other-certificates");
    let [other_ca, ..] = certificates(&other, "localhost");
    let cert_file = format!("ssl_cert_file={}", certificate.display());
    let key_file = format!("ssl_key_file={}", key.display());
    let server = Postgres::start(&["ssl=on", &cert_file, &key_file]).await;
    let database = server.database().await;
    let at = |host: &str, sslmode: &str, ca: Option<&PathBuf>| PostgresOptions {
        host: host.into(),
        sslmode: sslmode.into(),
        sslrootcert: ca.cloned(),
        ..database.settings()
    };
    for (options, encrypted) in [
        (at("127.0.0.1", "disable", None), Some(false)),
        (at("127.0.0.1", "prefer", None), Some(true)),
        (at("127.0.0.1", "require", None), Some(true)),
        // As libpq does it: given certificates are compared with.
        (at("127.0.0.1", "require", Some(&other_ca)), None),
        (at("127.0.0.1", "verify-ca", None), None),
        (at("127.0.0.1", "verify-ca", Some(&other_ca)), None),
        (at("127.0.0.1", "verify-ca", Some(&ca)), Some(true)),
        // The certificate names localhost.
        (at("127.0.0.1", "verify-full", Some(&ca)), None),
        (at("localhost", "verify-full", Some(&other_ca)), None),
        (at("localhost", "verify-full", Some(&ca)), Some(true)),
    ] {
        let what = format!("{} at {}", options.sslmode, options.host);
        match (PostgresMetadata::open(options).await, encrypted) {
            (Ok(metadata), Some(encrypted)) => {
                metadata.store("endpoint", "bucket").await.unwrap();
                let mut connection = database.connect().await;
                let found: bool = query_scalar(
                    "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE datname = current_database() AND application_name = 'gosync'",
                )
                .fetch_one(&mut connection)
                .await
                .unwrap();
                assert_eq!(found, encrypted, "{what}");
                metadata.close().await;
                wait::until("its connections are gone", async || {
                    let left: i64 =
                        query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gosync'")
                            .fetch_one(&mut connection)
                            .await
                            .unwrap();
                    wait::hold(left == 0, format!("{left} are left"))
                })
                .await;
            }
            (Err(error), None) => {
                let text = chain(&error);
                assert_eq!(error.kind, StateErrorKind::Unavailable, "{what}: {text}");
                assert!(text.contains("certificate") && !text.contains(PASSWORD), "{what}: {text}");
            }
            (Ok(_), None) => panic!("{what} was let in"),
            (Err(error), Some(_)) => panic!("{what}: {}", chain(&error)),
        }
    }
}
