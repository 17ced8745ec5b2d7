<?php
// SPDX-License-Identifier: MIT
//
// Strings and arrays that grow in random order. PHP's own allocator asks mremap() whether a large
// block can grow where it is (without MREMAP_MAYMOVE: none is ever moved); with USE_ZEND_ALLOC=0 it
// has realloc() grow them. All are checked at the end. Prints how much there is, then "done", and
// waits for a line.
//
// usage: php grow.php SIZE    the strings start with SIZE bytes

ini_set('memory_limit', '-1');
mt_srand(20);
$first = (int)$argv[1];

function piece(int $number, int $start, int $size): string
{
    $text = str_repeat(chr(97 + $number % 26) . sprintf("%05d\n", $number), 999);
    $skip = $start % strlen($text);
    return substr(str_repeat($text, intdiv($skip + $size, strlen($text)) + 1), $skip, $size);
}

$strings = [];
for ($i = 0; $i < 40; $i++) {
    $strings[$i] = piece($i, 0, $first);
}
for ($step = 0; $step < 400; $step++) {
    $i = mt_rand(0, 39);
    $strings[$i] .= piece($i, strlen($strings[$i]), mt_rand(intdiv($first, 32), intdiv($first, 4)));
}

$arrays = array_fill(0, 20, []);
for ($step = 0; $step < 1000; $step++) {
    $i = mt_rand(0, 19);
    for ($n = mt_rand(0, 2000); $n > 0; $n--) {
        $arrays[$i][] = count($arrays[$i]) * 3 + $i;
    }
}

$total = 0;
foreach ($strings as $i => $string) {
    if ($string !== piece($i, 0, strlen($string))) {
        exit("string $i holds something else\n");
    }
    $total += strlen($string);
}
foreach ($arrays as $i => $array) {
    foreach ($array as $at => $element) {
        if ($element !== $at * 3 + $i) {
            exit("array $i holds something else\n");
        }
    }
    $total += count($array);
}
echo "$total bytes and elements\ndone\n";
fgets(STDIN);
