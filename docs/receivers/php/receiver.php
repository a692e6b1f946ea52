<?php
// A receiver of clopos-relay's webhooks. PHP 8.1 or later, nothing to install; put your own work into `handle`.
//
//     export WEBHOOK_SECRET=whsec_…
//     php -S 127.0.0.1:9000 receiver.php     receives: any web server will do in its place
//     php receiver.php                       takes what was received: keep it running beside
//
// Several secrets, separated by spaces, all count. With RELAY_URL, RELAY_TOKEN and SUBSCRIPTION set, what was missed is
// pulled. A subscription with signature v1a has a public key, whpk_…, in place of the secret.

declare(strict_types=1);

const PULL_EVERY_S = 300;
const FORGET_AFTER_S = 30 * 86_400; // longer than the relay keeps events: it sends none again after that
const TOLERANCE_S = 300;
const LARGEST_BYTES = 16 * 1024 * 1024;

define('FOLDER', getenv('FOLDER') ?: 'webhooks');
const WAITING = FOLDER . '/waiting';
const DONE = FOLDER . '/done';
const STATE = FOLDER . '/state.json';
define('KEYS', explode(' ', getenv('WEBHOOK_SECRET')));
define('TOKEN', getenv('RELAY_TOKEN') ?: null);
define('PULL_FROM', getenv('RELAY_URL') . '/v1/subscriptions/' . getenv('SUBSCRIPTION') . '/events');
foreach ([WAITING, DONE] as $each) {
    @mkdir($each, 0700, true);
}

/** Do what is yours to do. Must do no harm when it runs twice: a crash may come between it and its note. */
function handle(array $event): void
{
    say("took {$event['type']} {$event['id']}");
}

// ---- is it the relay's? ----

/** Say why a request does not count; null if it was signed with one of our keys, lately. */
function why_refused(string $body): ?string
{
    $header = fn (string $name) => $_SERVER["HTTP_WEBHOOK_$name"] ?? '';
    [$id, $timestamp, $signatures] = [$header('ID'), $header('TIMESTAMP'), $header('SIGNATURE')];
    if (!preg_match('/^\w{1,100}$/D', $id) || !preg_match('/^[0-9]{1,12}$/D', $timestamp)) {
        return 'headers';
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE_S) {
        return 'timestamp';
    }
    foreach (explode(' ', $signatures) as $signature) { // while a secret is rotated there are two
        [$version, $encoded] = explode(',', $signature, 2) + ['', ''];
        $given = base64_decode($encoded, true);
        foreach (KEYS as $key) {
            if ($given !== false && is_signed($key, $version, $given, "$id.$timestamp.$body")) {
                return null;
            }
        }
    }
    return "signature: is WEBHOOK_SECRET this subscription's?";
}

/** Say whether this signature is this key's. */
function is_signed(string $key, string $version, string $given, string $content): bool
{
    [$kind, $encoded] = explode('_', $key, 2);
    $raw = base64_decode($encoded, true);
    if ($kind === 'whsec' && $version === 'v1' && strlen($raw) >= 24) {
        return hash_equals(hash_hmac('sha256', $content, $raw, true), $given);
    }
    if ($kind === 'whpk' && $version === 'v1a') {
        return strlen($given) === 64 && sodium_crypto_sign_verify_detached($given, $content, $raw);
    }
    return false;
}

// ---- keep it before you answer: two folders stand in for a table with a unique column ----

/** Put an event on the disk; false if it came before (and if two come at one instant, its sequence tells). */
function keep(string $id, string $body): bool
{
    if (file_exists(DONE . "/$id")) {
        return false;
    }
    $name = tempnam(FOLDER, 'new');
    $file = fopen($name, 'wb');
    if (fwrite($file, $body) !== strlen($body) || !fsync($file)) {
        throw new RuntimeException('the disk is full'); // a 500: the relay comes again
    }
    fclose($file);
    $is_new = @link($name, WAITING . "/$id"); // fails where it exists: of two requests at once, one is first
    unlink($name);
    if (!$is_new && !file_exists(WAITING . "/$id") && !file_exists(DONE . "/$id")) {
        throw new RuntimeException('the event cannot be kept');
    }
    return $is_new;
}

/** Verify, keep, answer; the work is done elsewhere, so that the relay never waits for it. */
function receive(): int
{
    $body = file_get_contents('php://input', length: LARGEST_BYTES + 1);
    if (strlen($body) > LARGEST_BYTES) {
        return 413;
    }
    $refused = why_refused($body);
    if ($refused !== null) {
        say("refused $refused");
        return 401;
    }
    $id = $_SERVER['HTTP_WEBHOOK_ID'];
    if (!keep($id, $body)) {
        say("again $id");
    }
    return 204;
}

// ---- take what waits, each subject's events in order ----

/** Take everything that waits. Where an event is missing before one, pull first, once. */
function work(array &$state): void
{
    $may_pull = TOKEN !== null;
    while ($waiting = array_map(read_json(...), glob(WAITING . '/*'))) {
        usort($waiting, fn ($one, $other) => $one['sequence'] <=> $other['sequence']);
        foreach ($waiting as $event) {
            $subject = "{$event['brand']}/{$event['venue_id']}/{$event['subject']}";
            $last = $state['sequences'][$subject] ?? null;
            $is_newer = $last === null || $event['sequence'] > $last;
            if ($is_newer && $last !== null && $event['previous_sequence'] !== $last) {
                say("gap before {$event['id']}");
                if ($may_pull) {
                    $may_pull = false;
                    pull($state);
                    break; // and begin again, with what came
                }
            }
            if ($is_newer) {
                handle($event);
                $state['sequences'][$subject] = $event['sequence'];
                save($state);
            } else {
                say("older {$event['type']} {$event['id']}"); // you have a later state of it already
            }
            rename(WAITING . "/{$event['id']}", DONE . "/{$event['id']}");
        }
    }
}

/** Fetch what the relay has for this subscription since the last time; what came by push is dropped by its id. */
function pull(array &$state): void
{
    $http = ['header' => 'authorization: Bearer ' . TOKEN, 'timeout' => 30, 'ignore_errors' => true];
    while (TOKEN !== null) {
        $cursor = $state['cursor'] === null ? '' : "&cursor={$state['cursor']}";
        $answer = @fopen(PULL_FROM . "?limit=200$cursor", 'r', context: stream_context_create(['http' => $http]));
        $status = $answer ? explode(' ', stream_get_meta_data($answer)['wrapper_data'][0])[1] : 'nothing';
        if ($status === '400' && $cursor !== '') {
            $state['cursor'] = null; // older than what the relay keeps: from the start of that
            continue;
        }
        if ($status !== '200') {
            say("cannot pull: the relay says $status");
            return;
        }
        $page = json_decode(stream_get_contents($answer), flags: JSON_THROW_ON_ERROR); // objects: an empty {} stays one
        foreach ($page->data as $event) {
            if (keep($event->id, json_encode($event, JSON_THROW_ON_ERROR))) {
                say("pulled $event->id");
            }
        }
        $state['cursor'] = $page->next_cursor;
        save($state);
        if (!$page->data) {
            return;
        }
    }
}

/** Let go of events that cannot come again. */
function forget(): void
{
    foreach (glob(DONE . '/*') as $path) {
        if (time() - filemtime($path) > FORGET_AFTER_S) {
            unlink($path);
        }
    }
}

function read_json(string $path): array
{
    return json_decode(file_get_contents($path), true, flags: JSON_THROW_ON_ERROR);
}

/** Note how far we are: whole or not at all. */
function save(array $state): void
{
    file_put_contents(STATE . '.new', json_encode($state, JSON_THROW_ON_ERROR));
    rename(STATE . '.new', STATE);
}

function say(string $line): void
{
    file_put_contents('php://stdout', "$line\n");
}

if (PHP_SAPI !== 'cli') {
    try {
        http_response_code(receive());
    } catch (Throwable $error) {
        error_log((string) $error);
        http_response_code(500); // whatever display_errors says: the relay is to come again
    }
    return;
}
$state = is_file(STATE) ? read_json(STATE) : ['sequences' => [], 'cursor' => null];
for ($looked_at = 0;; usleep(100_000)) {
    try {
        if (time() - $looked_at >= PULL_EVERY_S) { // for what was missed while we were down, and what never came
            $looked_at = time();
            pull($state);
            forget();
        }
        work($state);
    } catch (Throwable $error) {
        error_log((string) $error); // it still waits, and is tried again
        sleep(5);
    }
}
