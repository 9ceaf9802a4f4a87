// Reads cards as Microsoft's own library does. One card a line on standard input; says what is wrong with each, and ends with 1 if anything is.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// The built form: the sources name their files as only bundlers do.
const AdaptiveCards = createRequire(import.meta.url)("adaptivecards/dist/adaptivecards.js");

let wrong = 0;
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const context = new AdaptiveCards.SerializationContext(AdaptiveCards.Versions.v1_4);
  const card = new AdaptiveCards.AdaptiveCard();
  card.parse(JSON.parse(line), context);
  const events = [];
  for (let at = 0; at < context.eventCount; at++) events.push(context.getEventAt(at).message);
  events.push(...card.validateProperties().validationEvents.map((event) => event.message));
  if (events.length > 0 || card.getItemCount() !== 3) {
    wrong = 1;
    console.error(events.join("; "), line);
  }
}
process.exit(wrong);
