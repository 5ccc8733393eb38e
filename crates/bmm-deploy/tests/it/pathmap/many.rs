//! What ten thousand servers cost a request: nothing in the `map` form, which is one look into a table.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bmm_deploy::pathmap::{
    Address, ConfigPath, Form, PathTable, Port, SocketPath, Tls, Vhost, combined, nginx_if_line,
};

use super::parts::{Nginx, Running, free_address};
use super::{nginx, trials_with};

trials_with!(nginx() => trials_with_nginx: ten_thousand_slugs_in_a_map_cost_a_request_no_more_than_one);

const MANY: usize = 10_000;
/// Servers that are asked, spread over all of them.
const ASKED: usize = 16;
const ROUNDS: usize = 60;
const REQUESTS: usize = 100;

/// An nginx with so many slugs, and a connection to it.
struct Front {
    name: String,
    stream: TcpStream,
    targets: Vec<String>,
    /// The median of each round, in microseconds.
    medians: Vec<f64>,
    _running: (Running, Nginx),
}

impl Front {
    fn start(form: Form, count: usize, upstream: &Nginx, port: SocketAddr) -> Self {
        let (nginx, address) = (Nginx::new(), free_address());
        let slug = |number: usize| format!("server-{number:05}");
        let step = (count / ASKED).max(1);
        let mut table = PathTable::new();
        for number in 0..count {
            let socket = SocketPath::new(upstream.path(&format!("{}.sock", number / step % ASKED))).unwrap();
            table.insert(slug(number).parse().unwrap(), Address::Socket(socket));
        }
        let text = match form {
            Form::NginxIf => {
                let port = Port::new(port.port()).unwrap();
                table
                    .keys()
                    .map(|slug| nginx_if_line(slug, port) + "\n")
                    .collect()
            }
            _ => combined(form, &table).unwrap(),
        };
        let routes = nginx.path("routes");
        std::fs::write(&routes, text).unwrap();
        let routes = ConfigPath::new(&routes).unwrap();
        let own = ["login".parse().unwrap()];
        let mut vhost = Vhost::new("mcp.example.com".parse().unwrap(), form, routes, port, own);
        vhost.listen = vec![address];
        vhost.tls = Tls::Plain;
        let config = format!("keepalive_requests 1000000;\n{}", vhost.config());
        std::fs::write(nginx.vhost(), config).unwrap();
        let running = nginx.run(address);
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self {
            name: format!("{form}, {count}"),
            stream,
            targets: (0..count)
                .step_by(step)
                .map(|number| format!("/{}/mcp", slug(number)))
                .collect(),
            medians: Vec::new(),
            _running: (running, nginx),
        }
    }

    /// One request after the other; the median of their times.
    fn round(&mut self) {
        let mut times: Vec<f64> = (0..REQUESTS)
            .map(|number| {
                let target = &self.targets[number % self.targets.len()];
                let request = format!("GET {target} HTTP/1.1\r\nHost: mcp.example.com\r\n\r\n");
                let before = Instant::now();
                self.stream.write_all(request.as_bytes()).unwrap();
                let mut answer = [0; 1024];
                let count = self.stream.read(&mut answer).unwrap();
                let time = before.elapsed().as_secs_f64() * 1e6;
                assert!(
                    answer[..count].starts_with(b"HTTP/1.1 204"),
                    "{}",
                    String::from_utf8_lossy(&answer[..count])
                );
                time
            })
            .collect();
        self.medians.push(median(&mut times));
    }
}

/// Servers that answer with nothing, so that the way to them is what is measured.
fn upstream() -> (Nginx, Running, SocketAddr) {
    let (nginx, port) = (Nginx::new(), free_address());
    let sockets: String = (0..ASKED)
        .map(|number| {
            format!(
                "listen unix:{};\n",
                nginx.path(&format!("{number}.sock")).display()
            )
        })
        .collect();
    let config = format!("access_log off;\nserver {{\nlisten {port};\n{sockets}return 204;\n}}\n");
    std::fs::write(nginx.vhost(), config).unwrap();
    let running = nginx.run(port);
    (nginx, running, port)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn ten_thousand_slugs_in_a_map_cost_a_request_no_more_than_one() {
    let (upstream, _running, port) = upstream();
    // Whatever else runs on this machine disturbs all of them alike, since they take turns; if it did not, they are asked again.
    for attempt in 1.. {
        let mut fronts = [
            (Form::NginxMap, 1),
            (Form::NginxMap, MANY),
            (Form::NginxIf, 1),
            (Form::NginxIf, MANY),
        ]
        .map(|(form, count)| Front::start(form, count, &upstream, port));
        for round in 0..ROUNDS {
            for turn in 0..fronts.len() {
                // Nobody is always the first after another.
                let turn = (turn + round) % fronts.len();
                fronts[turn].round();
            }
        }
        let one = fronts[0].medians.clone();
        println!(
            "| slugs | p50, median of {ROUNDS} rounds of {REQUESTS} | of one slug in the map |\n|---|---|---|"
        );
        let ratios = fronts.map(|mut front| {
            let mut ratios: Vec<f64> = front
                .medians
                .iter()
                .zip(&one)
                .map(|(this, one)| this / one)
                .collect();
            let (p50, ratio) = (median(&mut front.medians), median(&mut ratios));
            println!("| {} | {p50:.0} µs | {ratio:.3} |", front.name);
            ratio
        });
        if ratios[1] <= 1.10 {
            return;
        }
        assert!(
            attempt < 3,
            "ten thousand slugs take {:.3} times as long as one",
            ratios[1]
        );
    }
}
