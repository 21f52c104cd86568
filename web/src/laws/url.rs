//! A password is shown nowhere, however wrong the URL is.

use crate::store::{Place, Store};

const PASSWORD: &str = "s3cret";

/// What the program says of a URL: shown, debugged, and why it can't be opened.
fn said(url: &str) -> (String, String) {
    let place: Place = url.parse().unwrap();
    let reason = match Store::open(place.clone()) {
        Ok(_) => panic!("{url} was opened"),
        Err(fault) => fault.to_string(),
    };
    (format!("{place} {place:?}"), reason)
}

#[test]
fn passwords_are_not_shown() {
    // Nobody listens on the socket.
    let urls = [
        "postgres://ann:s3cret@/plans?host=%2Fnowhere",
        "postgresql://ann:s3cret@/plans?host=%2Fnowhere&password=s3cret",
        "postgres:///plans?user=ann&password=s3cret&host=%2Fnowhere",
        "postgres://ann:s3cret@host:port/plans",
        "postgres://ann:p@s3cret@host/plans",
        "postgres://ann:p@s3cret=?x@host/plans",
        "postgres://ann:/s3cret@host/plans?wrong=1",
        "postgres://ann:%ffs3cret@host/plans?port=no",
        "postgres://ann:s3cret@host/plans?sslmode=require",
        "mysql://ann:s3cret@host/plans",
        "postgres//ann:s3cret://",
    ];
    for url in urls {
        let (shown, reason) = said(url);
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert!(!reason.contains(PASSWORD), "{reason}");
    }
}

#[test]
fn reasons_say_what_to_do() {
    let reason = |url: &str| said(url).1;
    let unreached = reason("postgres://ann:s3cret@/plans?host=%2Fnowhere");
    assert!(unreached.starts_with("postgres://ann@/nowhere/plans can not be reached: "));
    let unknown = reason("postgres://ann@host/plans?sslrootcert=ca.pem");
    assert!(unknown.contains("unknown option `sslrootcert`"), "{unknown}");
    // A socket has no transport security, and none is done without.
    for mode in ["require", "verify-full"] {
        let unsafe_ = reason(&format!("postgres://ann@/plans?host=%2Fnowhere&sslmode={mode}"));
        assert!(unsafe_.contains("can not be reached"), "{unsafe_}");
    }
    let twice = reason("postgres://ann@host/plans?sslmode=verify-full&sslmode=disable");
    assert!(twice.contains("more than once"), "{twice}");
    assert!(reason("postgres://ann@host/plans?sslmode=safe").contains("sslmode"));
    assert!(reason("postgres://a:p@q@host/plans").contains("%40"));
    assert!(reason("mysql://host/plans").contains("`mysql`"));
}
