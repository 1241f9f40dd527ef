//! Tokens that are taken, and every kind that is not.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;

use super::*;
use crate::policy::KeySource;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn rules() -> TokenRules {
    TokenRules {
        issuer: "https://idp.example".into(),
        audience: "pgwicket".into(),
        keys: KeySource::Set("{}".into()),
        clock_skew: Duration::from_secs(30),
        required: vec![("roles".into(), "support".into())],
        tenant: Some("org".into()),
        principal: "sub".into(),
        run: Some("run".into()),
        attributes: vec![("region".into(), "geo".into())],
    }
}

fn claims() -> Value {
    json!({ "iss": "https://idp.example", "aud": ["other", "pgwicket"], "exp": NOW + 300, "nbf": NOW, "sub": "ada@example",
            "org": "acme", "run": "r-1", "geo": "eu", "roles": ["reader", "support"] })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, hmac)
}

fn hmac(message: &[u8]) -> Vec<u8> {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn checked(claims: &Value) -> Result<Claimed, TokenError> {
    check(&hs256(claims), &rules(), &Keys::secret(SECRET), NOW)
}

fn ed25519(id: &str) -> (SigningKey, Value) {
    let key = SigningKey::from_bytes(&[id.len().try_into().unwrap(); 32]);
    let public = BASE64.encode(key.verifying_key().as_bytes());
    (key, json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "alg": "EdDSA", "x": public }))
}

#[test]
fn a_token_says_who_acts_for_which_tenant() {
    let claimed = checked(&claims()).unwrap();
    assert_eq!(claimed.tenant.unwrap().as_str(), "acme");
    assert_eq!((&*claimed.subject, claimed.run.unwrap().as_str(), claimed.expires_at), ("ada@example", "r-1", NOW + 300 + 30));
    assert_eq!(claimed.attributes, [("region".into(), "eu".into())]);
    assert_eq!(checked(&with("org", json!(42))).unwrap().tenant.unwrap().as_str(), "42");
    assert!(checked(&with("exp", json!(1_800_000_000.5))).is_ok());
}

#[test]
fn what_is_missing_empty_or_of_another_kind_is_refused() {
    for claim in ["org", "sub", "run", "geo"] {
        for claims in
            [without(claim), with(claim, json!("")), with(claim, json!("  ")), with(claim, json!(null)), with(claim, json!(["acme"]))]
        {
            // A `sub` that is no text makes it no JWT (RFC 7519, 4.1.2).
            let expected = if claims["sub"].is_array() { TokenError::Malformed } else { TokenError::Claim(claim.into()) };
            assert_eq!(checked(&claims), Err(expected), "{claims}");
        }
        assert_eq!(checked(&with(claim, json!("a\u{0}b"))), Err(TokenError::Claim(claim.into())));
        assert_eq!(checked(&with(claim, json!("x".repeat(1025)))), Err(TokenError::Claim(claim.into())));
    }
    for claims in [without("roles"), with("roles", json!("supporter")), with("roles", json!([])), with("roles", json!({ "support": true }))]
    {
        assert_eq!(checked(&claims), Err(TokenError::Required("roles".into())), "{claims}");
    }
    assert!(checked(&with("roles", json!("support"))).is_ok());
}

#[test]
fn another_issuer_audience_or_time_is_refused() {
    for (claims, expected) in [
        (with("iss", json!("https://idp.example/")), TokenError::Issuer),
        (without("iss"), TokenError::Claim("iss".into())),
        (with("aud", json!("pgwicket2")), TokenError::Audience),
        (with("aud", json!([])), TokenError::Audience),
        (without("aud"), TokenError::Claim("aud".into())),
        (without("exp"), TokenError::Claim("exp".into())),
        (with("exp", json!("never")), TokenError::Claim("exp".into())),
        (with("exp", json!(NOW - 30)), TokenError::Expired),
        (with("exp", json!(-5)), TokenError::Claim("exp".into())),
        (with("nbf", json!(NOW + 31)), TokenError::NotYet),
        (with("iat", json!(NOW + 3600)), TokenError::NotYet),
    ] {
        assert_eq!(checked(&claims), Err(expected), "{claims}");
    }
    assert!(checked(&with("exp", json!(NOW - 29))).is_ok(), "within the skew");
}

#[test]
fn the_header_chooses_no_algorithm() {
    let (key, jwk) = ed25519("one");
    let set = Keys::set(&json!({ "keys": [jwk] }).to_string()).unwrap();
    let public = key.verifying_key().to_bytes();
    let sign = |message: &[u8]| key.sign(message).to_vec();
    let good = signed(&json!({ "alg": "EdDSA", "kid": "one" }), &claims(), sign);
    assert!(check(&good, &rules(), &set, NOW).is_ok());
    let confused = signed(&json!({ "alg": "HS256", "kid": "one" }), &claims(), |message| {
        use hmac::{KeyInit as _, Mac as _};
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&public).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    });
    assert_eq!(check(&confused, &rules(), &set, NOW), Err(TokenError::UnknownKey));
    for header in [json!({ "alg": "none" }), json!({ "alg": "NONE", "kid": "one" }), json!({ "kid": "one" }), json!([])] {
        assert_eq!(check(&signed(&header, &claims(), |_| Vec::new()), &rules(), &set, NOW), Err(TokenError::Malformed), "{header}");
    }
    let critical = signed(&json!({ "alg": "EdDSA", "kid": "one", "crit": ["b64"], "b64": false }), &claims(), sign);
    assert_eq!(check(&critical, &rules(), &set, NOW), Err(TokenError::Malformed));
    let own = signed(&json!({ "alg": "EdDSA", "kid": "two", "jwk": ed25519("two-").1 }), &claims(), |message| {
        ed25519("two-").0.sign(message).to_vec()
    });
    assert_eq!(check(&own, &rules(), &set, NOW), Err(TokenError::UnknownKey), "its own key is not the issuer's");
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let changed = format!("{head}.{}.{signature}", BASE64.encode(with("org", json!("globex")).to_string()));
    assert_eq!(check(&changed, &rules(), &set, NOW), Err(TokenError::Signature));
    for text in ["", ".", "..", "a.b.c", "a.b.c.d", &good[..good.len() - 2], &"x".repeat(MAX_TOKEN + 1)] {
        assert!(check(text, &rules(), &set, NOW).is_err(), "{text}");
    }
}

#[test]
fn keys_are_told_apart_and_unknown_kinds_left_out() {
    let (one, first) = ed25519("one");
    let (two, second) = ed25519("two-");
    let odd = [
        json!({ "kty": "oct", "k": BASE64.encode(SECRET), "kid": "o" }),
        json!({ "kty": "XYZ", "kid": "x" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e", "use": "enc", "x": first["x"] }),
        json!({ "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB", "alg": "RS512" }),
        json!(7),
    ];
    let keys: Vec<Value> = odd.into_iter().chain([first, second]).collect();
    let set = Keys::set(&json!({ "keys": keys }).to_string()).unwrap();
    assert_eq!(set.count(), 2);
    let token = |key: &SigningKey, header: Value| signed(&header, &claims(), |message| key.sign(message).to_vec());
    assert!(check(&token(&two, json!({ "alg": "EdDSA", "kid": "two-" })), &rules(), &set, NOW).is_ok());
    assert_eq!(check(&token(&two, json!({ "alg": "EdDSA", "kid": "one" })), &rules(), &set, NOW), Err(TokenError::Signature));
    assert_eq!(check(&token(&one, json!({ "alg": "EdDSA" })), &rules(), &set, NOW), Err(TokenError::UnknownKey), "which of two?");
    assert!(Keys::set("[]").is_none() && Keys::set("{}").is_none() && Keys::set("no").is_none());
}

/// What an issuer signs for others, or in a way that two readers may read otherwise, is not taken (RFC 8725).
#[test]
fn a_token_of_another_kind_or_of_two_meanings_is_not_taken() {
    let typed =
        |kind: Value| check(&signed(&json!({ "alg": "HS256", "typ": kind }), &claims(), hmac), &rules(), &Keys::secret(SECRET), NOW);
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(typed(json!(kind)).is_ok(), "{kind}");
    }
    for kind in ["logout+jwt", "secevent+jwt", "id_token", "dpop+jwt", ""] {
        assert_eq!(typed(json!(kind)), Err(TokenError::Kind), "{kind}");
    }
    let issuers = with("iss", json!(["https://idp.example", "https://evil.example"]));
    assert_eq!(checked(&issuers), Err(TokenError::Issuer));
    assert_eq!(checked(&with("iss", json!(["https://idp.example"]))), Err(TokenError::Issuer));
    for claim in ["org", "sub", "run", "geo"] {
        assert_eq!(checked(&with(claim, json!(true))), Err(TokenError::Claim(claim.into())), "nobody is called true");
    }
    let message = format!(
        "{}.{}",
        BASE64.encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string()),
        BASE64.encode(claims().to_string().replacen('{', "{\"org\":\"globex\",", 1))
    );
    let twice = format!("{message}.{}", BASE64.encode(hmac(message.as_bytes())));
    assert!(check(&twice, &rules(), &Keys::secret(SECRET), NOW).is_err(), "which of two?");
}

#[test]
fn a_short_key_is_none_and_the_order_of_a_set_says_nothing() {
    let rsa = |bytes: usize| {
        let set = json!({ "keys": [{ "kty": "RSA", "kid": "r", "n": BASE64.encode(vec![0xff; bytes]), "e": "AQAB" }] });
        Keys::set(&set.to_string()).unwrap().count()
    };
    assert_eq!((rsa(128), rsa(255), rsa(256)), (0, 0, 1));
    // A key without a name does not stand in for one that the token names and the set has.
    let (one, first) = ed25519("one");
    let (_, mut nameless) = ed25519("two-");
    nameless.as_object_mut().unwrap().remove("kid");
    let token = signed(&json!({ "alg": "EdDSA", "kid": "one" }), &claims(), |message| one.sign(message).to_vec());
    for keys in [[first.clone(), nameless.clone()], [nameless, first]] {
        let set = Keys::set(&json!({ "keys": keys }).to_string()).unwrap();
        assert!(check(&token, &rules(), &set, NOW).is_ok());
    }
}

/// Neither the order of a set nor a second key of the name, while an issuer changes from one to the next, decides what is taken.
#[test]
fn keys_of_one_name_are_tried_and_the_order_of_a_set_says_nothing() {
    let (key, public) = ed25519("one");
    let (_, mut other) = ed25519("another");
    other["kid"] = json!("one");
    let token = signed(&json!({ "alg": "EdDSA", "kid": "one" }), &claims(), |message| key.sign(message).to_bytes().to_vec());
    let outcome = |keys: &[&Value]| check(&token, &rules(), &Keys::set(&json!({ "keys": keys }).to_string()).unwrap(), NOW).map(|_| ());
    assert_eq!(outcome(&[&public, &other]), Ok(()));
    assert_eq!(outcome(&[&other, &public]), Ok(()));
    assert_eq!(outcome(&[&other]), Err(TokenError::Signature));
    assert_eq!(outcome(&[&other, &other, &other, &public]), Ok(()));
    assert_eq!(outcome(&[&other, &other, &other, &other, &public]), Err(TokenError::UnknownKey), "more than are tried");
    assert_eq!(outcome(&[&public, &other, &other, &other, &other]), Err(TokenError::UnknownKey), "in any order");
}

/// `key_ops` (RFC 7517, 4.3): a key that is not to check signatures with checks none.
#[test]
fn a_key_for_other_operations_is_not_taken() {
    let (key, public) = ed25519("one");
    let token = signed(&json!({ "alg": "EdDSA", "kid": "one" }), &claims(), |message| key.sign(message).to_bytes().to_vec());
    for (operations, is_taken) in
        [(json!(["verify"]), true), (json!(["sign", "verify"]), true), (json!(["sign"]), false), (json!(["encrypt"]), false)]
    {
        let mut public = public.clone();
        public["key_ops"] = operations.clone();
        let keys = Keys::set(&json!({ "keys": [public] }).to_string()).unwrap();
        assert_eq!(check(&token, &rules(), &keys, NOW).is_ok(), is_taken, "{operations}");
    }
}
