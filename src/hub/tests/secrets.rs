//! No secret in any log, error or debug output, whatever the server echoes.

use std::io::Write;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server that repeats everything it knows in all the fields that are shown.
fn echo(status: u16) -> Say {
    let all = format!("{PASSWORD} {TOTP} {VALUE} {JWT}");
    let part = &PASSWORD[3..14];
    Say::json(
        status,
        json!({"detail": all, "message": JWT, "text": part, "fields": {VALUE: [VALUE], PASSWORD: 1}, "token": VALUE}),
    )
    .header("x-echo", &all)
}

fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = data_encoding::HEXLOWER.encode(bytes);
    let basic = data_encoding::BASE64.encode(format!("acme:{secret}").as_bytes());
    let url: String = url::form_urlencoded::byte_serialize(bytes).collect();
    vec![secret.into(), data_encoding::BASE64_NOPAD.encode(bytes), basic, hex.to_uppercase(), hex, url]
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // The test's runtime has one thread, so this sees the server's and the client's tasks alike.
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let mut shown = String::new();
    let mut show = |what: &dyn std::fmt::Debug| shown += &format!("{what:?} {what:#?}\n");

    for status in [200, 201, 400, 401, 403, 404, 409, 429, 500, 503] {
        let rig = ready(move |seen| (!seen.is_login() && !seen.is_list()).then(|| echo(status))).await;
        let scopes = ["repository:acme/api:pull".to_owned()];
        let errors = [
            rig.handle.prove(&secret(VALUE), &scopes, Urgency::Urgent).await.map(|proof| show(&proof)).err(),
            rig.handle.get("t1").await.map(|found| show(&found)).err(),
            rig.handle.create(new_token(), Urgency::Urgent).await.map(|made| show(&made)).err(),
            rig.handle.update("t1", Change::default(), Urgency::Urgent).await.map(|token| show(&token)).err(),
            rig.handle.delete("t1", Urgency::Urgent).await.map(|()| show(&())).err(),
        ];
        for error in errors.into_iter().flatten() {
            show(&error);
            show(&error.to_string());
        }
        show(&(rig.state(), &rig.handle));
    }
    for status in [200, 400, 401, 403, 500] {
        let rig = rig(move |_| Some(echo(status))).await;
        let credentials = Credentials::parse(b"owner", PASSWORD.as_bytes(), Some(TOTP.as_bytes())).unwrap();
        show(&credentials);
        rig.handle.set_credentials(Some(credentials), "1");
        let error = rig.handle.refresh(Urgency::Urgent).await.unwrap_err();
        show(&(error.to_string(), error, rig.state()));
    }
    let made = ready(|seen| seen.is_create().then(|| Say::json(201, created("t1")))).await;
    show(&made.handle.create(new_token(), Urgency::Urgent).await.unwrap());
    show(&made.state());
    drop(guard);

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("called Docker Hub"), "the log was caught");
    assert!(shown.contains("(withheld: it repeats a secret)"));
    for secret in [PASSWORD, TOTP, VALUE, JWT, "PlantedValue", "PlantedJwt", "Planted.Passw0rd", &PASSWORD[3..14]] {
        for form in encodings(secret) {
            assert!(!shown.contains(&form), "{secret} as {form} is shown");
            assert!(!log.contains(&form), "{secret} as {form} is logged");
        }
    }
}
