//! Path maps that follow what changes: written once, tested, reloaded, put back.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bmm_deploy::pathmap::{
    Addresses, Folder, Form, PathMap, PathTable, Proxy, PublishError, Publisher, SocketDir, Watch, combined,
};
use bmm_deploy::{Routes, Upstream};
use tempfile::TempDir;

use crate::{eventually, trials};

trials!(
    the_map_changes_when_a_slug_comes_or_goes_and_at_no_other_time,
    slugs_that_come_together_are_one_reload,
    what_the_proxy_refuses_is_taken_back,
    what_a_crash_left_untested_is_taken_back,
    a_proxy_that_is_away_is_told_when_it_is_back,
    a_watched_folder_is_combined_whenever_it_changes,
    a_folder_that_goes_away_changes_nothing,
    fragments_with_upstreams_of_their_own_choosing_are_left_out,
    a_full_disk_leaves_the_old_map,
);

/// Set where this program is its own child on a full disk.
const FULL_DISK: &str = "BMM_TEST_FULL_DISK";

/// A proxy that counts what it is asked for, and refuses what has the word `refused` in it, or while a file `broken` is there.
struct Fake {
    dir: TempDir,
}

impl Fake {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("fragments")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn proxy(&self) -> Proxy {
        let shell = |script: &str| -> Vec<OsString> {
            let here = self.dir.path().display();
            ["sh", "-c", &format!("cd '{here}'; {script}")]
                .map(OsString::from)
                .into()
        };
        Proxy::new(
            shell(
                "echo >>tests; if grep -q refused active || [ -e broken ]; then echo no such luck >&2; exit 1; fi",
            ),
            shell("[ ! -e away ] && cp active running && echo >>reloads"),
        )
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(Form::NginxMap, self.path("active"), self.proxy())
    }

    fn watch(&self) -> Watch {
        Watch::new(self.folder(), self.publisher())
    }

    fn folder(&self) -> Folder {
        Folder::new(Form::NginxMap, self.path("fragments"))
    }

    /// How often it was reloaded.
    fn reloads(&self) -> usize {
        std::fs::read_to_string(self.path("reloads")).map_or(0, |text| text.lines().count())
    }

    fn running(&self) -> String {
        std::fs::read_to_string(self.path("running")).unwrap_or_default()
    }

    fn active(&self) -> String {
        std::fs::read_to_string(self.path("active")).unwrap_or_default()
    }
}

fn addresses() -> Addresses {
    Addresses::Sockets(SocketDir::new("/run/bmm/public").unwrap())
}

fn table(slugs: &[&str]) -> PathTable {
    let entry = |slug: &&str| {
        let slug = slug.parse().unwrap();
        let address = addresses().of(&slug).unwrap();
        (slug, address)
    };
    slugs.iter().map(entry).collect()
}

fn text(slugs: &[&str]) -> String {
    combined(Form::NginxMap, &table(slugs)).unwrap()
}

const SOON: Duration = Duration::from_secs(20);

async fn the_map_changes_when_a_slug_comes_or_goes_and_at_no_other_time() {
    for form in Form::ALL {
        let dir = TempDir::new().unwrap();
        let routes = Routes::new();
        routes.set("first", Upstream::unix("/a")).unwrap();
        let addresses = match form {
            Form::NginxIf => Addresses::Port("4000".parse().unwrap()),
            _ => addresses(),
        };
        let folder = Folder::new(form, dir.path());
        let following = tokio::spawn(PathMap::in_folder(folder.clone(), addresses).follow(routes.clone()));
        let says = |slugs: &[&str]| {
            let table = folder.read().unwrap().unwrap_or_default().table;
            table.keys().map(|slug| slug.as_str()).eq(slugs.iter().copied())
        };
        eventually(SOON, "the first map", async || says(&["first"])).await;
        let file = || {
            std::fs::read_dir(dir.path())
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .metadata()
                .unwrap()
                .ino()
        };
        let before = file();
        // A redeploy is another upstream of the same name.
        routes.set("first", Upstream::unix("/b")).unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(file(), before, "{form} was written anew");
        routes.set("second", Upstream::unix("/c")).unwrap();
        eventually(SOON, "two servers", async || says(&["first", "second"])).await;
        routes.remove("first");
        eventually(SOON, "one server", async || says(&["second"])).await;
        following.abort();
    }
}

async fn slugs_that_come_together_are_one_reload() {
    let fake = Fake::new();
    let routes = Routes::new();
    let map = PathMap::of_proxy(fake.publisher(), addresses());
    let following = tokio::spawn(map.follow(routes.clone()));
    eventually(SOON, "the first reload", async || fake.reloads() == 1).await;
    let slugs: Vec<String> = (0..100).map(|number| format!("s{number:03}")).collect();
    for slug in &slugs {
        routes.set(slug, Upstream::unix("/a")).unwrap();
        tokio::task::yield_now().await;
    }
    let slugs: Vec<&str> = slugs.iter().map(String::as_str).collect();
    eventually(SOON, "all servers", async || fake.running() == text(&slugs)).await;
    assert!(fake.reloads() <= 3, "{} reloads", fake.reloads());
    following.abort();
}

async fn what_the_proxy_refuses_is_taken_back() {
    let fake = Fake::new();
    let mut publisher = fake.publisher();
    assert!(publisher.publish(&table(&["good"])).await.unwrap());
    assert!(!publisher.publish(&table(&["good"])).await.unwrap());
    let error = publisher.publish(&table(&["good", "refused"])).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(_)));
    let said = error.to_string();
    assert!(
        said.contains("no such luck") && said.contains("taken back") && !said.contains('\n'),
        "{said}"
    );
    assert_eq!(
        (fake.active(), fake.running()),
        (text(&["good"]), text(&["good"]))
    );
    assert_eq!(fake.reloads(), 1);
    // And the next good one is taken.
    assert!(publisher.publish(&table(&["better", "good"])).await.unwrap());
    assert_eq!(fake.running(), text(&["better", "good"]));
}

async fn what_a_crash_left_untested_is_taken_back() {
    let fake = Fake::new();
    fake.publisher().publish(&table(&["good"])).await.unwrap();
    std::fs::write(fake.path("active"), "half a li").unwrap();
    std::fs::write(fake.path("broken"), "").unwrap();
    fake.publisher().publish(&table(&["new"])).await.unwrap_err();
    assert_eq!(fake.active(), text(&["good"]), "the last one that passed");
    std::fs::remove_file(fake.path("broken")).unwrap();
    // A new process does not know what the proxy has taken up, and tells it.
    assert!(fake.publisher().publish(&table(&["good"])).await.unwrap());
    assert_eq!(fake.reloads(), 2);
}

async fn a_proxy_that_is_away_is_told_when_it_is_back() {
    let fake = Fake::new();
    std::fs::write(fake.path("away"), "").unwrap();
    let mut publisher = fake.publisher();
    let error = publisher.publish(&table(&["a"])).await.unwrap_err();
    assert!(matches!(error, PublishError::NotReloaded(_)), "{error}");
    assert_eq!(
        fake.active(),
        text(&["a"]),
        "what passed the test is there for its start"
    );
    std::fs::remove_file(fake.path("away")).unwrap();
    assert!(publisher.publish(&table(&["a"])).await.unwrap());
    assert_eq!(fake.running(), text(&["a"]));
}

async fn a_watched_folder_is_combined_whenever_it_changes() {
    let fake = Fake::new();
    let watching = tokio::spawn(fake.watch().run());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.reloads(), 0, "an empty folder says nothing");
    fake.folder().write(&table(&["a"])).unwrap();
    eventually(SOON, "a", async || fake.running() == text(&["a"])).await;
    // A line that is none does not stop the others.
    let odd = format!("{}evil unix:/x; return 200;\n", text(&["a", "b"]));
    std::fs::write(fake.path("fragments/bmm.map"), odd).unwrap();
    eventually(SOON, "a and b", async || fake.running() == text(&["a", "b"])).await;
    fake.folder().write(&table(&[])).unwrap();
    eventually(SOON, "none", async || fake.running() == text(&[])).await;
    // Another folder under the same name is looked at as well.
    std::fs::rename(fake.path("fragments"), fake.path("old")).unwrap();
    std::fs::create_dir(fake.path("fragments")).unwrap();
    fake.folder().write(&table(&["c"])).unwrap();
    eventually(Duration::from_secs(40), "c", async || {
        fake.running() == text(&["c"])
    })
    .await;
    assert!(!watching.is_finished());
    watching.abort();
}

/// Once the folder was not mounted, and every request was a 404.
async fn a_folder_that_goes_away_changes_nothing() {
    let fake = Fake::new();
    let mut watch = fake.watch();
    fake.folder().write(&table(&["a"])).unwrap();
    assert!(watch.look().await.unwrap().changed);
    std::fs::rename(fake.path("fragments"), fake.path("elsewhere")).unwrap();
    let error = watch.look().await.unwrap_err().to_string();
    assert!(error.contains("cannot read"), "{error}");
    assert_eq!(fake.running(), text(&["a"]));
    // An empty one in its place is as a folder that nobody has written to.
    std::fs::create_dir(fake.path("fragments")).unwrap();
    assert_eq!(watch.look().await.unwrap().servers, None);
    assert_eq!(fake.running(), text(&["a"]));
}

async fn fragments_with_upstreams_of_their_own_choosing_are_left_out() {
    let fake = Fake::new();
    let mut all = table(&["a"]);
    all.insert(
        "evil".parse().unwrap(),
        "unix:/var/run/docker.sock".parse().unwrap(),
    );
    fake.folder().write(&all).unwrap();
    let look = fake.watch().with_expected(addresses()).look().await.unwrap();
    assert_eq!((look.servers, look.problems.len()), (Some(1), 1));
    assert_eq!(fake.running(), text(&["a"]));
}

async fn a_full_disk_leaves_the_old_map() {
    let dir = TempDir::new().unwrap();
    let folder = Folder::new(Form::NginxMap, dir.path());
    folder.write(&table(&["a"])).unwrap();
    // No file may become larger than one block, and a write beyond that fails as on a full disk (EFBIG in place of ENOSPC).
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\""])
        .arg(std::env::current_exe().unwrap())
        .env(FULL_DISK, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("cannot write") && said.contains("still counts"),
        "{said}"
    );
    assert_eq!(folder.read().unwrap().unwrap().table, table(&["a"]));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

/// What this program does as its own child: it tries to write a large map. `false` if it is not that child.
pub(crate) fn is_child_on_a_full_disk() -> bool {
    let Some(dir) = std::env::var_os(FULL_DISK) else {
        return false;
    };
    let slugs: Vec<String> = (0..1000).map(|number| format!("s{number}")).collect();
    let slugs: Vec<&str> = slugs.iter().map(String::as_str).collect();
    let written = Folder::new(Form::NginxMap, Path::new(&dir)).write(&table(&slugs));
    println!("{}", written.unwrap_err());
    true
}
