/** Prints a report for people: facts first, then one table. */
export function printReport(report: object): void {
  for (const [key, value] of Object.entries(report)) {
    if (key === "rows" || key === "estimates") continue;
    console.log(`${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
  }
  if ("rows" in report) console.table(report.rows);
  if ("estimates" in report) console.table((report.estimates as object[]).map(({ longest: _, ...row }: any) => row));
}
