//! Pages for people, from the outside: what a browser is told, which forms count, and where nobody is led.
//!
//! What they look like, and that a real browser gets through all of them, is `browser.mjs`' story.

pub(crate) mod browser;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use store::Outcome;
use testkit::fixtures::{Peers, free_address};
use testkit::world::World;

use self::browser::{Browser, Page, encode, encoded, is_session};
use crate::program::Program;

const CONFIG: &str = "auth.loopback = \"off\"\nroles.owner = {}\n";
const PASSWORD: &str = "quartz-lantern-42-orbit";
fn at(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.address())
}

/// The path and the token of the link for the first owner.
async fn first_link(world: &World) -> Result<String> {
    let link = world.gate().auth().accounts().first_link().await?;
    let url = link.context("there is an owner")?.url;
    let path = url.split_once("/console/").context("no page")?.1;
    Ok(at(world, &format!("/console/{path}")))
}

/// A browser in which the owner signed in, and the page after that.
async fn owner(world: &World) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.get(&first_link(world).await?).await?;
    let filled = [("name", "olga"), ("password", PASSWORD)];
    let made = browser.submit(&page, &filled).await?;
    ensure!(made.status == 303, "{}", made.text);
    Ok((browser, made))
}

async fn sign_in(browser: &mut Browser, world: &World, next: &str) -> Result<Page> {
    let page = browser
        .get(&at(world, &format!("/console/login?next={}", encode(next))))
        .await?;
    let filled = [("name", "olga"), ("password", PASSWORD)];
    browser.submit(&page, &filled).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_guarded_by_its_headers() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let (mut browser, _) = owner(&world).await?;
    let mut stranger = Browser::default();
    let mut pages = Vec::new();
    for path in [
        "/console/login",
        "/console/reset",
        "/console/reset?token=x",
        "/console/setup?token=x",
        "/console/sign-in/none",
        "/oauth/callback?code=x&state=y",
    ] {
        pages.push(stranger.get(&at(&world, path)).await?);
    }
    for path in [
        "/console",
        "/console/",
        "/console/account",
        "/console/connect",
        "/console/connect/none",
        "/console/login",
    ] {
        pages.push(stranger.get(&at(&world, path)).await?);
        pages.push(browser.get(&at(&world, path)).await?);
    }
    for page in &pages {
        let header = |name| {
            page.header(name)
                .with_context(|| format!("no {name} at {}", page.url))
        };
        assert_eq!(header("x-frame-options")?, "DENY", "{}", page.url);
        assert_eq!(header("x-content-type-options")?, "nosniff");
        assert_eq!(header("referrer-policy")?, "same-origin");
        assert_eq!(header("cache-control")?, "no-store");
        assert!(page.header("access-control-allow-origin").is_none());
        if page.status == 303 {
            continue;
        }
        // A web app that asks in a window of its own gets that window back; nobody else gets hold of one of ours.
        let is_way = page.status >= 400
            || ["/console/login", "/console/sign-in/", "/oauth/"]
                .iter()
                .any(|part| page.url.contains(part));
        let opener = page.header("cross-origin-opener-policy");
        assert_eq!(opener.is_none(), is_way, "{}", page.url);
        let policy = header("content-security-policy")?;
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self';",
        ] {
            assert!(policy.contains(part), "{} has {policy}", page.url);
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("script-src"),
            "{policy}"
        );
        for bad in ["<script", " style=", "javascript:", " onclick"] {
            assert!(!page.text.contains(bad), "{bad} at {}", page.url);
        }
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stylesheet_is_kept_for_good_and_under_no_other_name() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let mut browser = Browser::default();
    let page = browser.get(&at(&world, "/console/login")).await?;
    let path = page.text.split("rel=\"stylesheet\" href=\"").nth(1);
    let path = path
        .and_then(|rest| rest.split('"').next())
        .context("no stylesheet")?;
    let style = browser.get(&at(&world, path)).await?;
    assert_eq!(style.status, 200);
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert!(
        style
            .header("cache-control")
            .is_some_and(|value| value.contains("immutable"))
    );
    assert!(!style.text.contains("url(") && !style.text.contains("@import"));
    for other in [
        "/console/assets/console.css",
        "/console/assets/..%2f",
        "/console/assets/x",
    ] {
        assert_eq!(
            browser.get(&at(&world, other)).await?.status,
            404,
            "{other}"
        );
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_link_makes_one_owner_and_is_done() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let link = first_link(&world).await?;
    let mut browser = Browser::default();
    let page = browser.get(&link).await?;
    assert_eq!(page.status, 200);
    // A weak password is told, and costs nothing.
    let weak = browser
        .submit(&page, &[("name", "olga"), ("password", "password1234")])
        .await?;
    assert_eq!(weak.status, 422);
    assert!(weak.text.contains("role=\"alert\""), "{}", weak.text);
    let forged = page.field("token")?.chars().rev().collect::<String>();
    let filled = [
        ("token", forged.as_str()),
        ("name", "olga"),
        ("password", PASSWORD),
    ];
    let mut other = Browser::default();
    let others = other.get(&link).await?;
    assert_eq!(other.submit(&others, &filled).await?.status, 403);
    let made = browser
        .submit(&weak, &[("name", "olga"), ("password", PASSWORD)])
        .await?;
    assert_eq!((made.status, made.location()?), (303, "/console/account"));
    let account = browser.get(&at(&world, "/console/account")).await?;
    assert!(account.text.contains("<h1>olga</h1>"), "{}", account.text);
    assert!(account.text.contains("<span class=\"tag\">owner</span>"));
    // Whoever has the link, or the page that it showed, comes too late.
    assert_eq!(other.get(&link).await?.status, 410);
    let filled = [("name", "eve"), ("password", PASSWORD)];
    assert_eq!(other.submit(&others, &filled).await?.status, 410);
    assert!(world.gate().auth().accounts().first_link().await?.is_none());
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let (mut browser, made) = owner(&world).await?;
    let session = made
        .cookies()
        .find(|line| is_session(line))
        .context("no session")?;
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
        assert!(session.contains(part), "{session}");
    }
    // Only over TLS can it say so; then it also has the name that nobody else can set.
    assert!(
        !session.contains("Secure") && !session.contains("Domain"),
        "{session}"
    );
    // The one from before the sign-in is gone: nobody else has had this session in hand.
    assert!(
        made.cookies()
            .any(|line| line.starts_with("portcullis-visit-")
                && line.contains("=; ")
                && line.contains("Max-Age=0"))
    );
    let (name, secret) = browser
        .jars
        .values()
        .flatten()
        .find(|(name, _)| is_session(name))
        .map(|(name, secret)| (name.clone(), secret.clone()))
        .context("no cookie")?;
    let account = browser.get(&at(&world, "/console/account")).await?;
    assert!(
        !account.text.contains(&secret),
        "the page tells the session's secret"
    );
    let out = browser.submit(&account, &[("act", "logout")]).await?;
    assert_eq!((out.status, out.location()?), (303, "/console/login"));
    // What was in the cookie is worth nothing any more.
    for jar in browser.jars.values_mut() {
        jar.insert(name.clone(), secret.clone());
    }
    let after = browser.get(&at(&world, "/console/account")).await?;
    assert_eq!((after.status, after.location()?), (303, "/console/login"));
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_pages_send_forms() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let link = first_link(&world).await?;
    let url = at(&world, "/console/setup");
    let mut browser = Browser::default();
    let page = browser.get(&link).await?;
    let (csrf, token) = (page.field("csrf")?, page.field("token")?);
    let fields = |csrf: &str| {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        encoded(&[
            pair("csrf", csrf),
            pair("token", &token),
            pair("name", "eve"),
            pair("password", PASSWORD),
        ])
    };
    let ours = format!("http://{}", world.address());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let others = Browser::default().get(&link).await?.field("csrf")?;
    let heads = [
        (String::new(), csrf.as_str(), "no origin"),
        (
            "Origin: null\r\n".to_owned(),
            &csrf,
            "a page without an origin",
        ),
        (
            "Origin: https://evil.example\r\n".to_owned(),
            &csrf,
            "another site",
        ),
        (
            "Origin: http://127.0.0.1:1\r\n".to_owned(),
            &csrf,
            "another port",
        ),
        (
            "Sec-Fetch-Site: same-site\r\n".to_owned(),
            &csrf,
            "another port, as browsers say",
        ),
        (
            format!("Origin: {ours}\r\nSec-Fetch-Site: cross-site\r\n"),
            &csrf,
            "two stories",
        ),
        (format!("Origin: {ours}\r\n"), "", "no token"),
        (
            format!("Origin: {ours}\r\n"),
            &others,
            "the token of another browser",
        ),
    ];
    for (head, csrf, what) in heads {
        let head = format!("{head}{form}");
        let refused = browser.send(&url, "POST", &head, &fields(csrf)).await?;
        assert_eq!(refused.status, 403, "{what}: {}", refused.text);
        assert!(refused.cookies().next().is_none(), "{what}");
    }
    // No cookie: another site made the form, and knows a token of its own.
    let head = format!("Origin: {ours}\r\n{form}");
    let mut bare = Browser::default();
    assert_eq!(
        bare.send(&url, "POST", &head, &fields(&others))
            .await?
            .status,
        403
    );
    // What is no form, or too much of one.
    let json = format!("Origin: {ours}\r\nContent-Type: text/plain\r\n");
    assert_eq!(
        browser
            .send(&url, "POST", &json, &fields(&csrf))
            .await?
            .status,
        415
    );
    let large = fields(&csrf) + "&x=" + &"x".repeat(70_000);
    assert_eq!(browser.send(&url, "POST", &head, &large).await?.status, 400);
    let twice = fields(&csrf) + "&name=olga";
    assert_eq!(browser.send(&url, "POST", &head, &twice).await?.status, 400);
    // None of them made anybody; the page itself does.
    let made = browser.send(&url, "POST", &head, &fields(&csrf)).await?;
    assert_eq!(made.status, 303, "{}", made.text);
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_s_forms_need_its_own_token() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let (mut browser, _) = owner(&world).await?;
    let mut second = Browser::default();
    assert_eq!(
        sign_in(&mut second, &world, "/console/account")
            .await?
            .status,
        303
    );
    let account = browser.get(&at(&world, "/console/account")).await?;
    let (own, others) = (
        account.field("csrf")?,
        second
            .get(&at(&world, "/console/account"))
            .await?
            .field("csrf")?,
    );
    assert_ne!(own, others);
    for token in ["", "x", &others] {
        let refused = browser
            .submit(&account, &[("act", "logout"), ("csrf", token)])
            .await?;
        assert_eq!(refused.status, 403, "{token}");
    }
    assert_eq!(
        browser.get(&at(&world, "/console/account")).await?.status,
        200
    );
    // One browser ends the other.
    let ended = browser.submit(&account, &[("act", "sign-out")]).await?;
    assert_eq!(ended.location()?, "/console/account?done=browser");
    assert_eq!(
        second.get(&at(&world, "/console/account")).await?.status,
        303
    );
    assert_eq!(
        browser.get(&at(&world, "/console/account")).await?.status,
        200
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_signing_in_people_stay_here() -> Result<()> {
    let world = World::of(CONFIG).await?;
    owner(&world).await?;
    for bad in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "",
    ] {
        let mut browser = Browser::default();
        let signed_in = sign_in(&mut browser, &world, bad).await?;
        assert_eq!(
            (signed_in.status, signed_in.location()?),
            (303, "/console/account"),
            "{bad:?}"
        );
        // Nor does a link that finds a session lead anywhere else.
        let again = browser
            .get(&at(&world, &format!("/console/login?next={}", encode(bad))))
            .await?;
        assert_eq!(again.location()?, "/console/account", "{bad:?}");
    }
    let mut browser = Browser::default();
    let asked = browser
        .get(&at(&world, "/console/connect?x=1&y=a%2Bb"))
        .await?;
    assert_eq!(asked.status, 303);
    let page = browser.follow(asked, "").await?;
    let filled = [("name", "olga"), ("password", PASSWORD)];
    let signed_in = browser.submit(&page, &filled).await?;
    assert_eq!(signed_in.location()?, "/console/connect?x=1&y=a%2Bb");
    // To an app's request it is a step of its own, which no form's policy holds up.
    let mut browser = Browser::default();
    let wanted = "/oauth/authorize?client_id=x&state=\"><script>";
    let signed_in = sign_in(
        &mut browser,
        &world,
        &wanted.replace(['"', '<', '>'], "%22"),
    )
    .await?;
    assert_eq!(signed_in.status, 200);
    assert_eq!(
        signed_in.next().as_deref(),
        Some("/oauth/authorize?client_id=x&state=%22%22%22script%22")
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sign_in_says_nothing_about_accounts() -> Result<()> {
    let world = World::of(CONFIG).await?;
    owner(&world).await?;
    let mut said = Vec::new();
    for name in ["olga", "nobody", "oLgA2"] {
        let mut browser = Browser::default();
        let page = browser.get(&at(&world, "/console/login")).await?;
        let filled = [("name", name), ("password", "not-the-password-of-anybody")];
        let refused = browser.submit(&page, &filled).await?;
        assert_eq!(refused.status, 403);
        assert!(refused.cookies().next().is_none(), "{name}");
        assert!(
            !refused.text.contains("not-the-password"),
            "{}",
            refused.text
        );
        let text = refused
            .text
            .replace(&page.field("csrf")?, "")
            .replace(name, "");
        let headers: Vec<_> = refused
            .headers
            .into_iter()
            .filter(|(name, _)| name != "content-length" && name != "date")
            .collect();
        said.push((text, headers));
    }
    assert!(said.iter().all(|one| *one == said[0]), "{said:#?}");
    let mut said = Vec::new();
    for name in ["olga", "nobody"] {
        let mut browser = Browser::default();
        let page = browser.get(&at(&world, "/console/reset")).await?;
        let sent = browser.submit(&page, &[("name", name)]).await?;
        said.push((sent.status, sent.text));
    }
    assert_eq!(said[0], said[1]);
    // Each step is recorded; what strangers typed is not.
    let records = world.stop().await?;
    let steps: Vec<_> = records
        .iter()
        .filter(|record| record.row.method.starts_with("account/"))
        .map(|record| {
            let row = &record.row;
            (&*row.method, row.principal.as_str(), row.outcome)
        })
        .collect();
    assert_eq!(steps[0], ("account/set_up", "olga", Outcome::Ok));
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(
        steps[1..]
            .iter()
            .all(|step| *step == ("account/sign_in", "-", Outcome::Refused)),
        "{steps:?}"
    );
    Ok(())
}

/// A gate whose people come from somebody else's provider.
struct Elsewhere {
    gate: Program,
    _provider: testkit::fixtures::HttpPeer,
}

impl Elsewhere {
    async fn start() -> Result<Self> {
        let peers = Peers::locate()?;
        let (gate_at, provider_at) = (free_address()?, free_address()?);
        let known = json!([{
            "client_id": "the-gate",
            "client_secret": "kestrel-anvil-0451-marble",
            "redirect_uris": [format!("http://{gate_at}/console/sign-in/corp/callback")],
        }]);
        let options = json!({ "registration": false, "clients": known });
        let provider = peers.oidc_provider_at(provider_at, &options).await?;
        let config = format!(
            "auth.loopback = \"off\"\n[roles.reader]\nallow = [\"time.*\"]\n[auth.sign_in.corp]\ntitle = \"Corp <&>\"\nissuer = \"{}\"\n\
             client_id = \"the-gate\"\nclient_secret = \"kestrel-anvil-0451-marble\"\nroles_claim = \"roles\"\n\
             roles = {{ reader = [\"reader\"], gate-admins = [\"owner\"] }}\n",
            provider.url()
        );
        let gate = Program::start_at(gate_at, &config).await?;
        Ok(Self {
            gate,
            _provider: provider,
        })
    }

    /// Goes to the provider as `who`, says yes to everything there, and stops before coming back. Where it would.
    async fn go(&self, browser: &mut Browser, who: &str) -> Result<String> {
        let page = browser
            .get(&self.gate.url("/console/sign-in/corp?next=/console/connect"))
            .await?;
        let mut page = browser.follow(page, "/console/").await?;
        for _ in 0..3 {
            if page.next().is_some() {
                break;
            }
            let asks = page.form("login", "").is_ok();
            let filled: &[(&str, &str)] = if asks {
                &[("login", who), ("password", "anything")]
            } else {
                &[("prompt", "consent")]
            };
            let answered = browser.submit(&page, filled).await?;
            page = browser.follow(answered, "/console/").await?;
        }
        let back = page
            .next()
            .with_context(|| format!("not sent back: {}", page.text))?;
        ensure!(back.contains("/console/sign-in/corp/callback?"), "{back}");
        Ok(back)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_provider_sign_in_once_per_answer_and_in_the_browser_that_asked() -> Result<()>
{
    let elsewhere = Elsewhere::start().await?;
    let gate = &elsewhere.gate;
    let mut browser = Browser::default();
    let page = browser
        .get(&gate.url("/console/login?next=/console/connect"))
        .await?;
    assert!(
        page.text.contains("Sign in with Corp &#60;&#38;&#62;"),
        "{}",
        page.text
    );
    assert!(
        page.text
            .contains("href=\"/console/sign-in/corp?next=%2Fconsole%2Fconnect\""),
        "{}",
        page.text
    );

    // Another browser is given the answer: that is nobody's sign-in.
    let back = elsewhere.go(&mut browser, "alice").await?;
    let mut other = Browser::default();
    other.get(&gate.url("/console/login")).await?;
    assert_eq!(other.get(&back).await?.status, 403);
    let theirs = browser.jars.clone();

    // With another state, with two, and from another issuer or from none, where this provider always names itself.
    let state = back
        .split("state=")
        .nth(1)
        .and_then(|rest| rest.split('&').next())
        .context("no state")?;
    let mut attacker = Browser { jars: theirs };
    for forged in [back.replace(state, "x"), format!("{back}&state={state}")] {
        attacker.refused(&forged, 403).await?;
        // The sign-in that was begun is over; it is begun anew.
        attacker = Browser {
            jars: browser.jars.clone(),
        };
    }
    attacker
        .refused(&back.replace("iss=", "iss=x"), 502)
        .await?;
    let back = elsewhere.go(&mut browser, "alice").await?;
    let nameless = back.replace("iss=", "was=");
    browser.refused(&nameless, 502).await?;

    let back = elsewhere.go(&mut browser, "alice").await?;
    let before = browser.jars.clone();
    let page = browser.get(&back).await?;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(page.next().as_deref(), Some("/console/connect"));
    let account = browser.get(&gate.url("/console/account")).await?;
    assert!(
        account.text.contains("<h1>corp/alice</h1>"),
        "{}",
        account.text
    );
    assert!(account.text.contains(">reader</span>") && !account.text.contains(">owner</span>"));
    // There is no password here to change.
    assert!(!account.text.contains("Change the password"));

    // The same answer, in the same browser: it counted once.
    let mut again = Browser { jars: before };
    assert_eq!(again.get(&back).await?.status, 403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_provider_knows_but_nobody_here_stays_outside() -> Result<()> {
    let elsewhere = Elsewhere::start().await?;
    let mut browser = Browser::default();
    let back = elsewhere.go(&mut browser, "mallory").await?;
    let refused = browser.get(&back).await?;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text.contains("No place for you here"),
        "{}",
        refused.text
    );
    let account = browser.get(&elsewhere.gate.url("/console/account")).await?;
    assert_eq!(account.status, 303);
    let none = browser
        .get(&elsewhere.gate.url("/console/sign-in/other"))
        .await?;
    assert_eq!(none.status, 404);
    Ok(())
}
