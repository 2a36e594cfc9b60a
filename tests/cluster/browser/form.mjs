// Opens the page at `url`, fills in its form with each of `rows` by typing, and tells what it shows.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { url, rows, modules } = JSON.parse(process.argv[2]);
const require = createRequire(`${modules}/`);
const load = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const [chromium, puppeteer] = [await load("@sparticuz/chromium"), await load("puppeteer-core")];

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: "shell",
  // A telephone's.
  defaultViewport: { width: 390, height: 800 },
});
const page = await browser.newPage();
const told = { faults: [], requests: [], answers: [] };
for (const event of ["console", "pageerror", "dialog", "requestfailed"])
  page.on(event, (one) => told.faults.push(`${event}: ${one.text?.() ?? one.message ?? one}`));
page.on("request", (one) => told.requests.push(one.url()));

const shown = () =>
  page.evaluate(() => ({
    text: document.body.innerText,
    answer: document.querySelector(".answer")?.innerText ?? null,
    error: document.querySelector(".error")?.innerText ?? null,
    fields: Object.fromEntries([...document.querySelectorAll("input")].map((i) => [i.name, i.value])),
    styled: getComputedStyle(document.querySelector("form")).display === "grid",
    wide: document.documentElement.scrollWidth - innerWidth,
  }));

await page.goto(url);
told.first = await shown();
for (const row of rows) {
  for (const [name, value] of Object.entries(row)) {
    await page.click(`input[name="${name}"]`, { count: 3 });
    await page.keyboard.press("Backspace");
    await page.keyboard.type(value);
  }
  await Promise.all([page.waitForNavigation(), page.click("button")]);
  told.answers.push(await shown());
}
await browser.close();
process.stdout.write(JSON.stringify(told));
