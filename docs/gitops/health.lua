-- The health of a TrainingJob for Argo CD, which gives `obj` and loads no libraries but `table`.
local hs = {status = "Progressing", message = "the operator has not seen it yet"}
local status = obj.status or {}

local holds = {}
for _, condition in ipairs(status.conditions or {}) do
  holds[condition.type] = condition.status == "True"
end

-- A verdict is final, also when the spec is edited later; all else may have changed with it.
if holds.Failed then
  hs.status = "Degraded"
elseif holds.Complete then
  hs.status = "Healthy"
elseif status.observedGeneration ~= obj.metadata.generation then
  return hs
elseif holds.Stalled then
  hs.status = "Degraded"
elseif holds.Suspended then
  hs.status = "Suspended"
end

local words = status.phase or ""
if status.progress ~= nil and status.progress.percent ~= nil then
  words = words .. " " .. status.progress.percent .. "%"
end
if status.message ~= nil and status.message ~= "" then
  words = words .. ": " .. status.message
end
hs.message = words
return hs
