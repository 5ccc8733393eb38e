//! What the scanner finds, and what it finds wrongly, on labelled data that nobody here wrote: `cargo xtask eval`.
//!
//! Takes the folder of the data as its argument (`data/README.md` there says what is what) and prints one JSON document: figures,
//! each with its counts and its goal. With `--rows`, every figure names the rows that speak against it, by index.

mod data;
mod figures;
mod forms;

use std::error::Error;
use std::path::PathBuf;

use serde_json::json;

use self::figures::Figure;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, rows) = match arguments.as_slice() {
        [folder] => (folder, false),
        [folder, option] if option == "--rows" => (folder, true),
        _ => return Err("usage: eval FOLDER [--rows]".into()),
    };
    let data = data::Data::read(&PathBuf::from(folder))?;
    let mut figures = figures::of_texts(&data)?;
    figures.extend(figures::of_hidden_channels(&data)?);
    figures.extend(figures::of_code(&data));
    let figures: Vec<_> = figures.iter().map(|figure| document(figure, rows)).collect();
    println!("{}", json!({ "figures": figures }));
    Ok(())
}

fn document(figure: &Figure, rows: bool) -> serde_json::Value {
    json!({
        "name": figure.name,
        "count": figure.count(),
        "of": figure.rows.len(),
        "goal": figure.goal,
        "against": if rows { json!(figure.against()) } else { json!(null) },
    })
}
