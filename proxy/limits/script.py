"""The rule of core/limits.py as Redis runs it: for a batch of requests, atomically.

KEYS are those of all limits of all requests, one after the other. ARGV: for each request the number
of its limits, then for each of these the microseconds of one request and of its burst. The answer:
for each limit the microseconds until it would admit the request, 0 if it does now. A request is
counted in all of its limits or in none.

The time is the server's own, so that the clocks of gateways need not agree. It steps back when
somebody sets it, or when another server takes over; then nobody is kept out for longer than a full
burst takes. A key lives until all that it says is forgiven.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free, changed, waits = {}, {}, {}
local k, a = 0, 1
while ARGV[a] do
  local limits, admitted = tonumber(ARGV[a]), true
  for i = 1, limits do
    local key = KEYS[k + i]
    local interval, capacity = tonumber(ARGV[a + 2 * i - 1]), tonumber(ARGV[a + 2 * i])
    local at = free[key] or tonumber(redis.call('GET', key) or 0) or 0
    if at > now + capacity then
      at = now + capacity
      changed[key] = true
    end
    if at < now then at = now end
    free[key] = at
    local wait = at + interval - now - capacity
    if wait > 0 then admitted = false else wait = 0 end
    waits[#waits + 1] = wait
  end
  if admitted then
    for i = 1, limits do
      local key = KEYS[k + i]
      free[key] = free[key] + tonumber(ARGV[a + 2 * i - 1])
      changed[key] = true
    end
  end
  k = k + limits
  a = a + 2 * limits + 1
end
for key in pairs(changed) do
  local lives = math.ceil((free[key] - now) / 1000)
  redis.call('SET', key, string.format('%.0f', free[key]), 'PX', math.max(lives, 1))
end
return waits
"""
