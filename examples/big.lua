-- SPDX-License-Identifier: MIT
--
-- An ordinary LuaJIT program whose data grows: a table of many columns, filled row by row, and a
-- log for each of a number of sources. LuaJIT keeps what is larger than 128 KiB in mappings of its
-- own and grows them with mremap(); as all of them grow in turn, most have to move.
--
-- usage: luajit big.lua [columns [rows]]
--
-- Prints a checksum, which depends on the arguments alone, and how many VMAs this process has at
-- the end, beside how few they could be ("runs": adjacent private anonymous mappings of equal
-- protection and name counted as one).

local columns = tonumber(arg[1]) or 600
local rows = tonumber(arg[2]) or 48000
local sources = math.floor(columns / 4)

local has_buffer, string_buffer = pcall(require, "string.buffer") -- LuaJIT of 2021 and later

local ffi = require("ffi")
ffi.cdef("struct moment { long seconds, nanoseconds; }; int clock_gettime(int, struct moment *);")

local function now()
    local moment = ffi.new("struct moment")
    ffi.C.clock_gettime(1, moment) -- CLOCK_MONOTONIC
    return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

local started = now()

-- Columns of numbers: the array part of each doubles when it is full.
local data = {}
for c = 1, columns do
    data[c] = {}
end
for r = 1, rows do
    for c = 1, columns do
        data[c][r] = (r * 31 + c * 17) % 65536
    end
    -- Now and then a column is dropped and another one started: holes, and reuse of them.
    if r % 8000 == 0 then
        local dropped = (r / 8000 * 37) % columns + 1
        local fresh = {}
        for i = 1, r do
            fresh[i] = (i + dropped) % 251
        end
        data[dropped] = fresh
    end
end

-- Logs: string buffers grow in place of one another; without them, pieces joined at the end.
local logs = {}
for s = 1, sources do
    logs[s] = has_buffer and string_buffer.new() or {}
end
for line = 1, 220 do
    for s = 1, sources do
        local text = string.rep(string.char(97 + (line + s) % 26), 1000 + s) .. "\n"
        if has_buffer then
            logs[s]:put(text)
        else
            logs[s][line] = text
        end
    end
end

-- What was computed: must be the same in every run, shimmed or not.
local sum = 0
for c = 1, columns do
    local column = data[c]
    for r = 1, #column do
        sum = (sum * 3 + column[r]) % 4294967291
    end
end
for s = 1, sources do
    local text = has_buffer and logs[s]:tostring() or table.concat(logs[s])
    sum = (sum * 3 + #text) % 4294967291
    for i = 1, #text, 997 do
        sum = (sum * 3 + text:byte(i)) % 4294967291
    end
end
local seconds = now() - started

local function count_mappings()
    local vmas, runs = 0, 0
    local last_end, last_key
    for line in io.lines("/proc/self/maps") do
        local from, to, prot, device, inode, name =
            line:match("^(%x+)%-(%x+) (%S+) %x+ (%S+) (%d+) *(.*)$")
        local anonymous = prot:sub(4, 4) == "p" and device == "00:00" and inode == "0"
        local key = anonymous and prot .. " " .. name
        vmas = vmas + 1
        if not (key and key == last_key and from == last_end) then
            runs = runs + 1
        end
        last_end, last_key = to, key
    end
    return vmas, runs
end

local vmas, runs = count_mappings()
print(string.format("checksum=%d seconds=%.3f vmas=%d runs=%d", sum, seconds, vmas, runs))
