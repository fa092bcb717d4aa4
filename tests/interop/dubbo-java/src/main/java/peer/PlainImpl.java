package peer;

import java.util.HashMap;
import java.util.Map;
import org.apache.dubbo.sample.Plain;

final class PlainImpl implements Plain {
    @Override
    public String greet(String name) {
        return "Hello " + name;
    }

    @Override
    public long add(long left, long right) {
        return left + right;
    }

    @Override
    public Map<String, Object> person(Map<String, Object> given) {
        Map<String, Object> answer = new HashMap<>(given);
        answer.put("seen", true);
        return answer;
    }

    @Override
    public String refuse(String message) {
        throw new IllegalStateException(message);
    }
}
