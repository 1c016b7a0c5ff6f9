"""Reports for people: self-contained HTML, made from JSON that programs can read as well."""
