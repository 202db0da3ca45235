// Runs in the page: sends requests, so many at a time, and returns what the script could read of
// each answer. A TypeError is all that a script learns of a refusal by the browser.
async ({ requests, together, deadline }) => {
  const ask = async ({ url, method, headers, credentials, body }) => {
    try {
      const signal = AbortSignal.timeout(deadline);
      const response = await fetch(url, { method, headers, credentials, body, signal });
      return { status: response.status, body: await response.text(), names: [...response.headers.keys()] };
    } catch (error) {
      return { error: error.name };
    }
  };
  const answers = [];
  for (let start = 0; start < requests.length; start += together) {
    answers.push(...await Promise.all(requests.slice(start, start + together).map(ask)));
  }
  return answers;
}
