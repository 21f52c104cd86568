use super::*;

fn times(text: &str) -> Result<Vec<f64>, Diagnostic> {
    parse_table(text.as_bytes(), "t.csv", |fields| fields.seconds("time").map(Some))
}

#[test]
fn units_are_read_from_the_name() {
    assert_eq!(times("time_us\n4\n").unwrap(), [4e-6]);
    assert_eq!(times("a,time_ms\nx,4\n").unwrap(), [4e-3]);
    assert_eq!(times("time\n4\n").unwrap_err().code, "missing-unit");
    assert_eq!(times("a\n4\n").unwrap_err().code, "missing-column");
    assert_eq!(times("time_min\n4\n").unwrap_err().code, "unknown-unit");
}

#[test]
fn what_is_no_time_is_an_error_with_its_place() {
    for cell in ["NaN", "-1", "0", "inf", "", "4 us", "1e300", "1e-300"] {
        let error = times(&format!("a,time_us\n,1\n,{cell}\n")).unwrap_err();
        assert_eq!(error.code, "bad-cell", "{cell}");
        let text = format!("{error:?}");
        assert!(text.contains("t.csv") && text.contains("Count(3)"), "{text}");
        assert!(text.contains("time_us"), "{text}");
    }
}

/// Lines are counted alike whether they end in one character or in two.
#[test]
fn rows_have_the_number_of_their_line() {
    for end in ["\n", "\r\n"] {
        let lines = |text: &str| {
            let text = text.replace('\n', end);
            parse_table(text.as_bytes(), "t.csv", |fields| Ok(Some(fields.line())))
        };
        assert_eq!(lines("a,b\n1,2\n3,4\n5,6").unwrap(), [2, 3, 4], "{end:?}");
        let error = lines("a,b\n1,2\n3\n").unwrap_err();
        assert!(format!("{error:?}").contains("Count(3)"), "{error:?}");
    }
}

#[test]
fn ragged_and_doubled_tables_are_errors() {
    assert_eq!(times("time_us,b\n1\n").unwrap_err().code, "bad-table");
    assert_eq!(times("time_us,time_us\n1,2\n").unwrap_err().code, "bad-table");
    assert_eq!(times("time_us\n").unwrap_err().code, "empty-table");
    assert_eq!(times("").unwrap_err().code, "empty-table");
}

#[test]
fn counts_are_whole() {
    let count = |cell: &str| {
        parse_table(format!("n,x\n{cell},\n").as_bytes(), "t.csv", |fields| {
            Ok(Some((fields.count("n")?, fields.count_or_blank("x")?)))
        })
    };
    assert_eq!(count("3").unwrap(), [(3, None)]);
    for cell in ["0", "-3", "1.5", "99999999999999999999999"] {
        assert_eq!(count(cell).unwrap_err().code, "bad-cell", "{cell}");
    }
}
