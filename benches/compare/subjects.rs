//! The compared subjects. Each starts once, and all run during the whole comparison.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::pass_through::PASS_THROUGH;
use crate::process::{free, Process};
use crate::verify::{Carries, API_KEY};
use crate::work;

/// Threads or processes that serve requests, where this can be set. Node has one.
pub const THREADS: usize = 2;

/// The compared subjects, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    HaProxy,
    Nginx,
    Pingora,
    NginxLua,
    Node,
    Reference,
    Default,
    Group,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::HaProxy,
        Self::Nginx,
        Self::Pingora,
        Self::NginxLua,
        Self::Node,
        Self::Reference,
        Self::Default,
        Self::Group,
    ];

    /// Short names for the command line.
    pub fn short(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Pingora => "pingora",
            Self::NginxLua => "lua",
            Self::Node => "node",
            Self::Reference => "reference",
            Self::Default => "default",
            Self::Group => "group",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "HAProxy, only forwarding",
            Self::Nginx => "nginx, only forwarding",
            Self::Pingora => "Pingora, only forwarding",
            Self::NginxLua => "nginx + Lua, mapping",
            Self::Node => "Node, mapping",
            Self::Reference => "Hedgerow, `mode: reference`, no spool",
            Self::Default => "Hedgerow, enriched, spool on",
            Self::Group => "Hedgerow, the same with `mode: group`",
        }
    }

    pub fn carries(self) -> Carries {
        match self {
            Self::HaProxy | Self::Nginx | Self::Pingora => Carries::Bytes,
            Self::NginxLua | Self::Node | Self::Reference => Carries::Reference,
            Self::Default | Self::Group => Carries::Enriched,
        }
    }

    /// One of our own: the tables of events a second are about these.
    pub fn is_hedgerow(self) -> bool {
        matches!(self, Self::Reference | Self::Default | Self::Group)
    }

    /// Takes part in the comparison with every event from another page.
    pub fn gets_other_pages(self) -> bool {
        self.is_hedgerow() || matches!(self, Self::Nginx | Self::Pingora)
    }

    /// Starts it, if its program is installed.
    pub fn start(self, folder: &Path, upstream: SocketAddr) -> Result<Process, String> {
        let folder = folder.join(self.short());
        fs::create_dir_all(&folder).unwrap();
        let address = free();
        let start = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null());
            Process::start(self.name(), address, command)
        };
        match self {
            Self::HaProxy => {
                let text = include_str!("haproxy.cfg")
                    .replace("#listen", &address.to_string())
                    .replace("#upstream", &upstream.to_string());
                let file = folder.join("haproxy.cfg");
                fs::write(&file, text).unwrap();
                start(
                    Command::new(found("haproxy")?)
                        .arg("-q")
                        .arg("-f")
                        .arg(file),
                )
            }
            Self::Nginx | Self::NginxLua => {
                let file = folder.join("nginx.conf");
                fs::write(&file, self.nginx(&folder, address, upstream)?).unwrap();
                start(
                    Command::new(found("nginx")?)
                        .args(["-e", "stderr", "-p"])
                        .arg(&folder)
                        .arg("-c")
                        .arg(&file),
                )
            }
            Self::Pingora => start(
                Command::new(std::env::current_exe().unwrap())
                    .env(PASS_THROUGH, format!("{address} {upstream}")),
            ),
            Self::Node => start(
                Command::new(found("node")?)
                    .arg(in_this_folder("node/server.mjs"))
                    .arg(address.port().to_string())
                    .arg(format!("http://{upstream}")),
            ),
            Self::Reference => {
                let settings = "mapping: {mode: reference}\ndelivery: {spool: \"off\"}\n";
                hedgerow(self.name(), &folder, address, &plain(upstream, settings))
            }
            Self::Default | Self::Group => {
                let mode = if self == Self::Group {
                    "group"
                } else {
                    "stream"
                };
                let spool = folder.join("spool");
                let settings = format!(
                    "delivery: {{mode: {mode}, spool: {{path: \"{}\"}}}}\n",
                    spool.display()
                );
                hedgerow(self.name(), &folder, address, &plain(upstream, &settings))
            }
        }
    }

    fn nginx(
        self,
        folder: &Path,
        address: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<String, String> {
        for name in ["body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let text = include_str!("nginx.conf")
            .replace("#upstream", &upstream.to_string())
            .replace("#listen", &address.to_string());
        if self == Self::Nginx {
            return Ok(text
                .replace("#modules", "")
                .replace("#lua", "")
                .replace("#map", "")
                .replace("#path", ""));
        }
        let mut modules = String::new();
        for module in ["ndk_http_module.so", "ngx_http_lua_module.so"] {
            let places = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];
            let module = places.iter().map(|place| Path::new(place).join(module));
            let module = module.into_iter().find(|file| file.exists());
            let module = module.ok_or("nginx has no Lua module (libnginx-mod-http-lua)")?;
            writeln!(modules, "load_module {};", module.display()).unwrap();
        }
        let map = in_this_folder("map.lua");
        let lua = format!(
            "init_by_lua_block {{ convert = dofile(\"{}\") }}",
            map.display()
        );
        Ok(text
            .replace("#modules", &modules)
            .replace("#lua", &lua)
            .replace("#map", "access_by_lua_block { convert() }")
            .replace("#path", "/batch/"))
    }

    /// Its name and version.
    pub fn version(self) -> String {
        let ask = |program: &str, argument: &str| -> String {
            let output = found(program).and_then(|program| {
                let output = Command::new(program).arg(argument).output();
                output.map_err(|error| error.to_string())
            });
            let output = output.map(|output| [output.stdout, output.stderr].concat());
            let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
            let words = text.split(|sign: char| sign.is_whitespace() || sign == '/');
            let version = words
                .map(|word| word.trim_start_matches('v'))
                .find(|word| word.starts_with(|sign: char| sign.is_ascii_digit()));
            version.unwrap_or_default().to_owned()
        };
        match self {
            Self::HaProxy => format!("HAProxy {}", ask("haproxy", "-v")),
            Self::Nginx => format!("nginx {}", ask("nginx", "-v")),
            Self::NginxLua => "Lua with cjson in LuaJIT".to_owned(),
            Self::Node => {
                let undici = in_this_folder("node/node_modules/undici");
                let client = if undici.exists() { "undici" } else { "fetch" };
                format!("Node {} with {client}", ask("node", "--version"))
            }
            Self::Pingora => format!("Pingora {}", locked("pingora")),
            Self::Reference | Self::Default | Self::Group => {
                format!("Hedgerow {}", env!("CARGO_PKG_VERSION"))
            }
        }
    }
}

/// The version of a crate in the lock file.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| {
        let mut lines = entry.trim().lines();
        lines.next() == Some(&format!("name = \"{name}\""))
    });
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1));
    version
        .and_then(|text| text.split('"').next())
        .unwrap_or("?")
}

fn in_this_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare");
    folder.join(name)
}

/// The path of a program, also in folders that only root searches.
fn found(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut files = folders.map(|folder| folder.join(name));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is not installed"))
}

/// One project, one route and any write key.
fn plain(upstream: SocketAddr, settings: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"http://{upstream}\", api_key: {API_KEY}, http: 1}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop}}\n{settings}"
    )
}

/// Starts the binary with this configuration, its address and threads.
pub fn hedgerow(
    name: &'static str,
    folder: &Path,
    address: SocketAddr,
    yaml: &str,
) -> Result<Process, String> {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join("hedgerow.yaml");
    let yaml = format!("listen: \"{address}\"\nserver: {{threads: {THREADS}}}\n{yaml}");
    fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command
        .args(["run", "-c"])
        .arg(&file)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null());
    Process::start(name, address, &mut command)
}

/// Configurations that are large in one respect, to see whether the cost of an event depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    Plain,
    /// 64 projects, each with a route.
    Projects,
    /// 10,000 write keys of one route.
    WriteKeys,
    /// 1,000 routes of one project.
    Routes,
}

impl Large {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Projects, Self::WriteKeys, Self::Routes];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "1 project, 1 route, any write key",
            Self::Projects => "64 projects",
            Self::WriteKeys => "10,000 write keys",
            Self::Routes => "1,000 routes",
        }
    }

    pub fn routes(self) -> Vec<String> {
        let count = match self {
            Self::Plain | Self::WriteKeys => return vec!["/hr/".to_owned()],
            Self::Projects => 64,
            Self::Routes => 1_000,
        };
        (0..count).map(|number| format!("/r{number}/")).collect()
    }

    pub fn keys(self) -> usize {
        match self {
            Self::WriteKeys => 10_000,
            Self::Plain | Self::Projects | Self::Routes => 1,
        }
    }

    /// Starts the binary with it in the reference mode, without a spool.
    pub fn start(self, folder: &Path, upstream: SocketAddr) -> Process {
        let projects = if self == Self::Projects { 64 } else { 1 };
        let mut yaml =
            "mapping: {mode: reference}\ndelivery: {spool: \"off\"}\nprojects:\n".to_owned();
        for project in 0..projects {
            writeln!(
                yaml,
                "  p{project}: {{host: \"http://{upstream}\", api_key: {API_KEY}, http: 1}}"
            )
            .unwrap();
        }
        yaml.push_str("routes:\n");
        for (number, route) in self.routes().iter().enumerate() {
            writeln!(
                yaml,
                "  - path: {route}\n    segment:\n      project: p{}",
                number % projects
            )
            .unwrap();
            if self == Self::WriteKeys {
                yaml.push_str("      write_keys:\n");
                for key in 0..self.keys() {
                    writeln!(yaml, "        - {}", work::write_key(key)).unwrap();
                }
            }
        }
        let folder = folder.join(format!("{self:?}"));
        hedgerow(self.name(), &folder, free(), &yaml).unwrap()
    }
}
