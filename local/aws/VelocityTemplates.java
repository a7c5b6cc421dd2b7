import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringWriter;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.velocity.VelocityContext;
import org.apache.velocity.app.VelocityEngine;

/**
 * Renders API Gateway's mapping templates in Velocity, with the variables that API Gateway documents for them. Run from its source.
 *
 * Each line of the input is one fact of a request, or its template, in words of Base64. `render` ends the request and has it answered with two words:
 * the rendered text, and the status that the template set, if any.
 */
public class VelocityTemplates {
  private static Input input = new Input();
  private static Map<String, Object> context = newContext();
  private static String template = "";

  public static void main(String[] args) throws Exception {
    VelocityEngine engine = new VelocityEngine();
    engine.setProperty("runtime.log.logsystem.class", "org.apache.velocity.runtime.log.NullLogChute");
    engine.init();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ", -1);
      for (int index = 1; index < words.length; index++) words[index] = decode(words[index]);
      switch (words[0]) {
        case "template" -> template = words[1];
        case "body" -> input.body = words[1];
        case "header", "querystring", "path" -> input.parameters.get(words[0]).put(words[1], words[2]);
        case "text" -> input.values.put(words[1], words[2]);
        case "number" -> input.values.put(words[1], Integer.valueOf(words[2]));
        case "context" -> putContext(words[1].split("\\."), words[2]);
        case "render" -> {
          out.println(render(engine));
          input = new Input();
          context = newContext();
        }
        default -> throw new IllegalArgumentException("unknown line: " + words[0]);
      }
    }
  }

  private static String render(VelocityEngine engine) {
    VelocityContext variables = new VelocityContext();
    variables.put("input", input);
    variables.put("util", new Util());
    variables.put("context", context);
    StringWriter text = new StringWriter();
    try {
      engine.evaluate(variables, text, "template", template);
    } catch (RuntimeException refused) {
      return "error " + encode(String.valueOf(refused.getMessage()));
    }
    Object status = ((Map<?, ?>) context.get("responseOverride")).get("status");
    return "text " + encode(text.toString()) + (status == null ? "" : " " + encode(status.toString()));
  }

  private static Map<String, Object> newContext() {
    Map<String, Object> created = new LinkedHashMap<>();
    created.put("responseOverride", new LinkedHashMap<String, Object>());
    return created;
  }

  @SuppressWarnings("unchecked")
  private static void putContext(String[] names, String value) {
    Map<String, Object> at = context;
    for (int index = 0; index < names.length - 1; index++) {
      at = (Map<String, Object>) at.computeIfAbsent(names[index], (name) -> new LinkedHashMap<String, Object>());
    }
    at.put(names[names.length - 1], value);
  }

  private static String decode(String word) {
    return new String(Base64.getDecoder().decode(word), StandardCharsets.UTF_8);
  }

  private static String encode(String text) {
    return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }

  /** `$input`. Values of `path` are looked up: what JSONPath finds is not this class's business. */
  public static class Input {
    private String body = "";
    private final Map<String, Map<String, String>> parameters = new LinkedHashMap<>();
    private final Map<String, Object> values = new LinkedHashMap<>();

    Input() {
      for (String where : new String[] {"path", "querystring", "header"}) parameters.put(where, new LinkedHashMap<>());
    }

    public String getBody() {
      return body;
    }

    public Map<String, Map<String, String>> params() {
      return parameters;
    }

    /** Looks at the path, the query string and the headers, in this order. */
    public String params(String name) {
      return parameters.values().stream()
          .filter((found) -> found.containsKey(name))
          .findFirst()
          .map((found) -> found.get(name))
          .orElse("");
    }

    public Object path(String expression) {
      return values.get(expression);
    }
  }

  /** `$util`. */
  public static class Util {
    public String urlEncode(String text) {
      return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
  }
}
