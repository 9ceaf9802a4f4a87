//! A login by TDS 7.4 without TLS: none of the product's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Logs in to a server on 127.0.0.1, in the login's own database. The number of the error that refuses it; none: nobody could say.
pub fn tds_login(port: u16, user: &str, password: &str) -> Option<Result<(), u32>> {
    // No version, no encryption.
    const PRELOGIN: &[u8] = &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 2];
    const ERROR: u8 = 0xAA;
    const TAKEN: u8 = 0xAD;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut exchange = |kind: u8, message: &[u8]| {
        let length = u16::try_from(message.len() + 8).ok()?.to_be_bytes();
        let packet = [&[kind, 1, length[0], length[1], 0, 0, 1, 0], message].concat();
        stream.write_all(&packet).ok()?;
        let mut header = [0; 8];
        stream.read_exact(&mut header).ok()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut answer = vec![0; length.checked_sub(8)?];
        stream.read_exact(&mut answer).ok()?;
        Some(answer)
    };
    exchange(0x12, PRELOGIN)?;
    let answer = exchange(0x10, &login(user, password)?)?;
    // Tokens with their lengths, up to the first that decides.
    let mut at = 0;
    loop {
        let token = *answer.get(at)?;
        let length = usize::from(u16::from_le_bytes(*answer.get(at + 1..at + 3)?.first_chunk()?));
        match token {
            ERROR => {
                return Some(Err(u32::from_le_bytes(
                    *answer.get(at + 3..at + 7)?.first_chunk()?,
                )));
            }
            TAKEN => return Some(Ok(())),
            _ => at += 3 + length,
        }
    }
}

fn login(user: &str, password: &str) -> Option<Vec<u8>> {
    const FIXED: usize = 94;
    let wide = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let user = wide(user);
    let password: Vec<u8> = wide(password)
        .iter()
        .map(|byte| byte.rotate_left(4) ^ 0xA5)
        .collect();
    let mut message = vec![0; FIXED];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    let two = |number: usize| u16::try_from(number).ok().map(u16::to_le_bytes);
    put(
        0,
        &u32::try_from(FIXED + user.len() + password.len())
            .ok()?
            .to_le_bytes(),
    );
    put(4, &0x7400_0004_u32.to_le_bytes());
    put(8, &4096_u32.to_le_bytes());
    put(40, &two(FIXED)?);
    put(42, &two(user.len() / 2)?);
    put(44, &two(FIXED + user.len())?);
    put(46, &two(password.len() / 2)?);
    Some([message, user, password].concat())
}
