//! A target that hands a live secret back, in whatever form: the whole answer is withheld, the step ends, the run parks, and nothing
//! is tried again (rules H2, H4, H5). The planted secret stands in the server, and the plugin may read there what it likes. It never
//! asks for a handle on that secret: what the rotation may use is watched for, whether the plugin has taken it or not.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keywheel_hostile::{Attack, On, Scene, Seen, attack_with, manifest_text, postgres, redis};

const REDIS: Attack<'_> = Attack {
    does: "eval",
    ..Attack::HONEST
};

/// Has Redis run a script on the planted value, which is `v` in it.
#[track_caller]
fn redis_shows_nothing(script: &str) {
    let seen = attack_with(&REDIS, |subject| {
        redis()
            .command(&["SET", &subject.name, &subject.planted])
            .unwrap();
        format!("local v = redis.call('GET', '{}') {script}", subject.name)
    });
    seen.parks("create", "plugin.reflection", "reflection");
}

/// Has PostgreSQL evaluate an expression on the planted value, which is `v` in it.
#[track_caller]
fn postgres_shows_nothing(columns: &str) {
    let attack = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        does: "query",
        ..REDIS
    };
    let seen = attack_with(&attack, |subject| {
        let planted = subject.planted.replace('\'', "''");
        postgres()
            .sql(&format!(
                "INSERT INTO public.stash VALUES ('{}', '{planted}')",
                subject.name
            ))
            .unwrap();
        format!(
            "SELECT {columns} FROM public.stash WHERE owner = '{}'",
            subject.name
        )
    });
    seen.parks("create", "plugin.reflection", "reflection");
}

macro_rules! encodings {
    ($check:ident: $($name:ident = $form:expr;)+) => {
        $(#[test]
        fn $name() {
            $check($form);
        })+
    };
}

/// Letters to bits and back, by the server.
const BASE64: &str = "local a = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/' local bits = v:gsub('.', \
    function(c) local n, s = c:byte(), '' for i = 7, 0, -1 do s = s .. math.floor(n / 2 ^ i) % 2 end return s end) \
    return (bits:gsub('%d%d%d%d%d%d', function(s) local n = tonumber(s, 2) + 1 return a:sub(n, n) end))";

encodings! { redis_shows_nothing:
    redis_plain = "return v";
    redis_in_the_middle_of_a_text = "return 'the value is ' .. v .. ', as it stands there'";
    redis_base64 = BASE64;
    redis_hex = "return (v:gsub('.', function(c) return string.format('%02x', c:byte()) end))";
    redis_hex_in_capitals = "return (v:gsub('.', function(c) return string.format('%02X', c:byte()) end))";
    redis_url = "return (v:gsub('[^%w]', function(c) return string.format('%%%02X', c:byte()) end))";
    redis_json = "return cjson.encode({ p = v })";
    redis_utf_16_little = "return (v:gsub('.', function(c) return c .. string.char(0) end))";
    redis_utf_16_big = "return (v:gsub('.', function(c) return string.char(0) .. c end))";
    redis_reversed = "return v:reverse()";
    redis_in_two_elements = "return { v:sub(1, 20), v:sub(21) }";
    redis_in_nested_letters = "local all = {} for i = 1, #v do all[i] = { v:sub(i, i) } end return all";
    redis_as_a_status = "return redis.status_reply(v)";
    redis_as_an_error = "return redis.error_reply('ERR ' .. v)";
    redis_beyond_the_first_kilobytes = "return string.rep('x', 200000) .. v";
}

encodings! { postgres_shows_nothing:
    postgres_plain = "v";
    postgres_bytes = "v::bytea";
    postgres_base64 = "encode(v::bytea, 'base64')";
    postgres_base64_after_a_byte = "encode(('x' || v)::bytea, 'base64')";
    postgres_hex = "encode(v::bytea, 'hex')";
    postgres_url = "(SELECT string_agg(CASE WHEN c ~ '[A-Za-z0-9]' THEN c ELSE '%' || encode(c::bytea, 'hex') END, '') \
        FROM regexp_split_to_table(v, '') c)";
    postgres_json = "json_build_object('p', v)::text";
    postgres_xml = "xmlelement(name p, v)::text";
    postgres_utf_16 = "decode((SELECT string_agg(encode(c::bytea, 'hex') || '00', '') FROM regexp_split_to_table(v, '') c), 'hex')";
    postgres_reversed = "reverse(v)";
    postgres_in_two_columns = "left(v, 20), substr(v, 21)";
    postgres_in_letters = "regexp_split_to_table(v, '')";
}

/// In pieces that no scan of one piece could know: the host looks on before it cuts.
#[test]
fn a_channel_read_a_few_bytes_at_a_time() {
    pieces("read-in-pieces");
}
#[test]
fn a_channel_read_up_to_delimiters_that_the_plugin_chose() {
    pieces("read-until");
}

/// How many bytes come before the value: up to before, at and after 256 KiB, its first 20 bytes at the end of a piece of 8 KiB, and far more.
const BEFORE: [usize; 6] = [40, 262_100, 262_135, 262_144, 270_307, 500_000];

/// Nothing of a value is shown that has not come in full, and nothing told of it: what may be its beginning is held back by length.
#[test]
fn the_beginning_of_a_value_behind_half_a_megabyte() {
    for before in BEFORE {
        far("beyond", before, "''");
    }
}
#[test]
fn its_letters_one_by_one_behind_half_a_megabyte() {
    for before in BEFORE {
        far("beyond-by-letters", before, "''");
    }
}
#[test]
fn what_its_first_letter_is_not_behind_half_a_megabyte() {
    for before in BEFORE {
        far("beyond-by-guesses", before, "''");
    }
}
#[test]
fn its_beginning_as_an_element_of_another_framing() {
    far("beyond-as-elements", 400, r"'\004\020'");
    // So much that the element is read before the value has come in full.
    far("beyond-as-elements", 270_000, r"'\004\020'");
}

#[track_caller]
fn far(does: &str, before: usize, mark: &str) {
    let attack = Attack { does, ..REDIS };
    let seen = attack_with(&attack, |subject| {
        redis()
            .command(&["SET", &format!("planted-{}", subject.name), &subject.planted])
            .unwrap();
        format!("{before} {mark} {}", keywheel_hostile::hidden(&subject.planted))
    });
    seen.parks("create", "plugin.reflection", "reflection");
}

#[track_caller]
fn pieces(does: &str) {
    let attack = Attack { does, ..REDIS };
    let seen = attack_with(&attack, |subject| {
        redis()
            .command(&["SET", &format!("planted-{}", subject.name), &subject.planted])
            .unwrap();
        keywheel_hostile::hidden(&subject.planted)
    });
    seen.parks("create", "plugin.reflection", "reflection");
}

/// The host takes a longer pause than this for the end of what was said.
const SHORT: Duration = Duration::from_millis(15);

/// A server that makes a pause in the middle of the value, too short to be taken for the end of it. What came before it is held back until the
/// rest is there, and is found with it. Where a pause became too long, since the machine had other things to do, it is tried again.
#[test]
fn the_beginning_of_a_value_whose_rest_comes_after_a_pause() {
    let tried = || {
        let (seen, pauses) = with_a_pause();
        let short = !pauses.is_empty() && pauses.iter().all(|pause| *pause < SHORT);
        short.then_some(seen)
    };
    let seen = (0..30).find_map(|_| tried()).expect("a pause that is short");
    seen.parks("create", "plugin.reflection", "reflection");
}

/// And how long each pause was.
fn with_a_pause() -> (Seen, Vec<Duration>) {
    // Its own: the plugin is granted a server that is gone afterwards.
    let scene = Scene::set_up();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = "hostile-pause";
    let manifest = manifest_text("redis.toml").replace("\"hostile-redis\"", &format!("\"{name}\""));
    let _ = scene.drop_in(&manifest);
    let granted = [
        format!("localhost:{} tls", redis().port()),
        format!("localhost:{port} plaintext"),
    ];
    scene.add_for(name, &granted);
    let attack = Attack {
        plugin: name,
        does: "read-before-a-pause",
        ..REDIS
    };
    let subject = scene.prepare(&attack, |_| port.to_string());
    let (value, over) = (subject.planted.clone(), AtomicBool::new(false));
    thread::scope(|scope| {
        // The plugin's connections, and one more that ends it.
        let streams = listener.incoming().take_while(|_| !over.load(Ordering::SeqCst));
        let server = scope.spawn(|| {
            streams
                .map(|stream| say(stream.unwrap(), value.as_bytes()))
                .collect()
        });
        let seen = scene.rotate(&attack, subject, "end");
        over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        (seen, server.join().unwrap())
    })
}

/// Says the value, with a pause in the middle of it; how long the pause was.
fn say(mut stream: TcpStream, value: &[u8]) -> Duration {
    stream.set_nodelay(true).unwrap();
    let (first, rest) = value.split_at(20);
    let began = Instant::now();
    stream.write_all(first).unwrap();
    thread::sleep(SHORT / 3);
    // Who was shown the beginning may be gone.
    let _ = stream.write_all(rest);
    began.elapsed()
}

/// A statement that fails on a value quotes it.
#[test]
fn an_error_of_the_server_that_quotes_it() {
    let attack = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        does: "query",
        ..REDIS
    };
    let seen = attack_with(&attack, |subject| {
        let planted = subject.planted.replace('\'', "''");
        postgres()
            .sql(&format!(
                "INSERT INTO public.stash VALUES ('{}', '{planted}')",
                subject.name
            ))
            .unwrap();
        format!("SELECT v::int FROM public.stash WHERE owner = '{}'", subject.name)
    });
    seen.parks("create", "plugin.reflection", "reflection");
}
