-- One assignment after the other, over the experiments given after `--`, with the body of the
-- product description.
local paths, next_path = {}, 0
local body = '{"userId":"user_123","sessionId":"session_456","timestamp":1764000000000,' ..
  '"device":"mobile","location":"US","features":{"age":35,"previousPurchases":5}}'
local bare = '{"userId":"user_123","sessionId":"session_456"}'
local failed = 0

function init(arguments)
  if arguments[1] == "bare" then body = bare end
  for index = 2, #arguments do
    paths[#paths + 1] = wrk.format(
      "POST", "/experiments/" .. arguments[index] .. "/assign",
      { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  next_path = next_path % #paths + 1
  return paths[next_path]
end
