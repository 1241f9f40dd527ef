//! Reads one statement's rows as fast as they come and says how many a second. `scripts/bench` runs it.
//!
//!     cargo bench --bench rows -- PORT USER DATABASE "SELECT …"     (password in PGPASSWORD)
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a measuring tool, read by a script")]
#![expect(clippy::disallowed_methods, reason = "the doors are closed to the product, not to what measures it")]

#[path = "../tests/it/support/wire.rs"]
#[expect(dead_code, reason = "the tests' connection; a large SELECT needs little of it")]
mod wire;

use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, user, database, statement] = arguments.as_slice() else { return };
    let password = std::env::var("PGPASSWORD").unwrap();
    let mut connection = wire::Wire::connect(port.parse().unwrap(), user, &password, database).unwrap();
    connection.simple("select 1").unwrap();
    let start = Instant::now();
    connection.send(b'Q', format!("{statement}\0").as_bytes()).unwrap();
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    loop {
        let message = connection.receive().unwrap();
        match message.tag {
            b'D' => {
                rows += 1;
                bytes += message.body.len() as u64 + 5;
            }
            b'E' => {
                println!("error {}: {}", message.field('C').unwrap(), message.field('M').unwrap());
                std::process::exit(1);
            }
            b'Z' => break,
            _ => {}
        }
    }
    let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap().max(1);
    println!("{rows} rows {bytes} bytes {milliseconds} ms {} rows/s", rows * 1000 / milliseconds);
}
