<?php
// A receiver in PHP 8.1 or newer, with nothing to install.
//
// WORKER_WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:8001 receiver.php

declare(strict_types=1);

const TOLERANCE_S = 300;

/** Says whether the body is ours, unchanged, and younger than five minutes. */
function is_genuine(string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if ($id === '' || !ctype_digit($timestamp) || abs(time() - (int) $timestamp) > TOLERANCE_S) {
        return false;
    }
    $key = base64_decode(substr((string) getenv('WORKER_WEBHOOK_SECRET'), strlen('whsec_')), true);
    if ($key === false || $key === '') {
        throw new RuntimeException('WORKER_WEBHOOK_SECRET must be whsec_ and base64');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    $found = false;
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) { // several while a secret is rotated
        $found = hash_equals($expected, $signature) || $found;
    }
    return $found;
}

$body = (string) file_get_contents('php://input');
if (!is_genuine($body)) {
    http_response_code(401);
    return;
}
// In real life a table with a unique column, written with the result in one transaction.
$mark = sys_get_temp_dir() . '/suno-webhook-' . hash('sha256', $_SERVER['HTTP_WEBHOOK_ID']);
if (@fopen($mark, 'x') !== false) {
    $task = json_decode($body, true);
    file_put_contents('php://stdout', "{$task['task_id']} {$task['status']}\n");
}
http_response_code(204); // answer quickly; do slow work later
