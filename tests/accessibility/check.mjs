// Copyright (c) 2026, multigpu.vllm maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Opens HTML reports in Chromium (wide, dark, on a phone, on paper) and fails on requests, console errors, pages wider
// than the screen and accessibility violations.
// Usage: node check.mjs [--pictures DIR] REPORT.html...
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(join(process.env.NODE_MODULES ?? process.cwd(), "/"));
const { default: puppeteer } = await import(pathToFileURL(installed.resolve("puppeteer-core")));
const axe = readFileSync(installed.resolve("axe-core/axe.min.js"), "utf8");

// Milliseconds for the start of the browser and for each page; long, because other tests may use all cores.
const PATIENCE = 300_000;
const VIEWS = {
  desktop: { width: 1280, height: 900, scheme: "light" },
  dark: { width: 1280, height: 900, scheme: "dark" },
  phone: { width: 390, height: 844, scheme: "light" },
  narrow: { width: 320, height: 640, scheme: "dark" },
};

async function examine(browser, file, name, view, pictures) {
  const problems = [];
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && problems.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`page: ${error}`));
  page.on("dialog", async (dialog) => {
    problems.push(`a script ran: ${dialog.message()}`);
    await dialog.dismiss();
  });
  const address = pathToFileURL(resolve(file)).href;
  page.on("request", (request) => request.url() !== address && problems.push(`request: ${request.url()}`));
  await page.setOfflineMode(true);
  await page.setViewport({ width: view.width, height: view.height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: view.scheme }]);
  await page.goto(address, { waitUntil: "load" });
  const picture = (suffix, options) =>
    pictures && page.screenshot({ path: join(pictures, `${basename(file, ".html")}-${suffix}.png`), ...options });
  await picture(name, {});
  // axe ignores collapsed content, so expand everything, and collapse it again for the picture of the whole page.
  const open = await page.evaluate(() => [...document.querySelectorAll("details")].map((part) => part.open));
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
  const widest = await page.evaluate(() => document.scrollingElement.scrollWidth);
  if (widest > view.width) problems.push(`${widest} pixels wide on a screen of ${view.width}`);
  // On a phone, the cells of a row of the fleet table stand side by side: "3 of 4TP 2" is hard to read.
  const touching = await page.evaluate(() =>
    [...document.querySelectorAll(".fleet tbody tr")].filter((row) => getComputedStyle(row).display === "flex")
      .flatMap((row) => {
        const cells = [...row.children].map((cell) => ({ text: cell.innerText, box: cell.getBoundingClientRect() }));
        return cells.flatMap((left) => cells.filter(({ box }) => box.left >= left.box.right - 1 &&
          box.left < left.box.right + 4 && box.top < left.box.bottom && left.box.top < box.bottom)
          .map((right) => left.text + right.text));
      }));
  if (touching.length) problems.push(`${touching.length} cells touch the next one, first: ${touching[0]}`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations) {
    problems.push(`${impact}: ${id}: ${help} (${nodes.length}), first: ${nodes[0].html.slice(0, 160)}`);
  }
  await page.evaluate(
    (states) => document.querySelectorAll("details").forEach((part, index) => (part.open = states[index])),
    open,
  );
  await picture(`${name}-whole`, { fullPage: true, captureBeyondViewport: true });
  if (pictures && name === "desktop") await page.pdf({ path: join(pictures, `${basename(file, ".html")}.pdf`) });
  await page.close();
  return problems;
}

const files = process.argv.slice(2);
const pictures = files[0] === "--pictures" ? files.splice(0, 2)[1] : undefined;
const profile = mkdtempSync(join(tmpdir(), "report-"));
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  userDataDir: profile,
  timeout: PATIENCE,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
let failures = 0;
for (const file of files) {
  for (const [name, view] of Object.entries(VIEWS)) {
    const problems = await examine(browser, file, name, view, pictures);
    failures += problems.length;
    console.log(`${problems.length ? "FAIL" : "ok  "} ${basename(file)} ${name}`);
    for (const line of new Set(problems)) console.log(`     ${line}`);
  }
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
process.exit(failures ? 1 : 0);
