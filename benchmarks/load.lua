-- wrk -s load.lua URL -- FOLDER COUNT CONTENT_TYPE posts the files 0 to COUNT - 1 of FOLDER in turn
-- and prints what benchmarks/load.py reads: numbers, times in microseconds.
local requests, place = {}, 0

function init(arguments)
  local headers = { ["Content-Type"] = arguments[3] }
  for number = 0, arguments[2] - 1 do
    local file = assert(io.open(arguments[1] .. "/" .. number, "rb"))
    requests[#requests + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  print("measured", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99))
end
